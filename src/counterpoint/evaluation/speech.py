"""What a speech model says of clips, and how the classes lie among its vectors. N clips, D features, C classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from counterpoint.data.audio.load import Audio, Clips
from counterpoint.evaluation.knn import knn_predict
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.evaluation.probe import linear_probe
from counterpoint.models.audio.classifier import SpeechClassifier
from counterpoint.models.audio.understanding import Understanding


@torch.no_grad()
def vectors(model: nn.Module, clips: Clips, size: int = 64) -> tuple[Tensor, Tensor | None]:
    """Run a model over clips and leave it in the mode it was in.

    Returns:
        Vectors [N, D], and a classifier's scores [N, C] (None of an encoder alone), float32 on the CPU.
    """
    first = next(model.parameters(), None)
    device = first.device if first is not None else torch.device("cpu")
    training = model.training
    model.eval()
    collected: list[Tensor] = []
    scored: list[Tensor] = []
    try:
        # Clips of like length together waste least on padding, which changes nothing.
        order = torch.argsort(clips.lengths, stable=True)
        for index in order.split(size):
            batch = clips[index].to(device)
            if isinstance(model, SpeechClassifier):
                rows, scores = model(batch.waves, batch.lengths, classify=True)
                scored.append(scores.float().cpu())
            else:
                rows = model(batch.waves, batch.lengths)
            collected.append(rows.float().cpu())
    finally:
        model.train(training)
    back = torch.argsort(order)
    return torch.cat(collected)[back], torch.cat(scored)[back] if scored else None


def _outputs(subject: Subject[nn.Module, Audio]) -> tuple[Tensor, Tensor | None]:
    return subject.once("vectors", lambda: vectors(subject.model, subject.part))


def _bank(subject: Subject[nn.Module, Audio]) -> Tensor:
    return subject.once("bank", lambda: vectors(subject.model, subject.data.train)[0])


def _classified(predicted: np.ndarray, subject: Subject[nn.Module, Audio]) -> dict[str, float]:
    """``macro_f1`` (mean over all classes of the data, 0 for one that is neither there nor predicted) and ``accuracy``."""
    truth = subject.part.labels.numpy()
    return {
        "macro_f1": macro_f1(truth, predicted, len(subject.data.classes)),
        "accuracy": float((predicted == truth).mean()),
    }


def answers(subject: Subject[SpeechClassifier, Audio]) -> dict[str, float]:
    """Figures of a classifier's own answers."""
    scores = _outputs(subject)[1]
    assert scores is not None
    return _classified(scores.argmax(1).numpy(), subject)


def probe(subject: Subject[nn.Module, Audio]) -> dict[str, float]:
    """The same of an encoder alone: of a linear probe that is trained on its vectors."""
    data = subject.data
    tuning, _ = vectors(subject.model, data.validation)
    fitted = linear_probe(
        (_bank(subject).numpy(), data.train.labels.numpy()),
        (tuning.numpy(), data.validation.labels.numpy()),
        (_outputs(subject)[0].numpy(), subject.part.labels.numpy()),
    )
    return _classified(fitted.predicted, subject)


def representation(subject: Subject[nn.Module, Audio]) -> dict[str, float]:
    """``nearest_accuracy`` (the nearest training clip's class) and ``silhouette`` (cosine), both of the vectors."""
    rows, truth = _outputs(subject)[0], subject.part.labels.numpy()
    nearest = knn_predict(_bank(subject), subject.data.train.labels, rows, k=1).numpy()
    return {"nearest_accuracy": float((nearest == truth).mean()), "silhouette": silhouette(rows, truth)}


def surprise(subject: Subject[SpeechClassifier, Audio]) -> dict[str, float]:
    """``cross_entropy`` of a classifier's scores."""
    scores = _outputs(subject)[1]
    assert scores is not None
    return {"cross_entropy": float(cross_entropy(scores, subject.part.labels))}


def is_encoder(model: nn.Module, data: Audio) -> bool:
    """Whether a model has vectors and no answers of its own."""
    return not isinstance(model, SpeechClassifier | Understanding)


MEASUREMENTS: tuple[Measurement[Any, Audio], ...] = (
    Measurement(applies=is_a(SpeechClassifier), measure=answers),
    Measurement(applies=is_encoder, measure=probe, through={"macro_f1": "probe", "accuracy": "probe"}),
    Measurement(applies=lambda model, data: not isinstance(model, Understanding), measure=representation),
    Measurement(applies=is_a(SpeechClassifier), measure=surprise),
)
"""What is measured of classes; ``evaluation.understanding`` has what is measured of intents."""


def macro_f1(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> float:
    """Mean F1 over the classes 0..C-1; a class that is neither present nor predicted counts 0.

    >>> round(macro_f1(np.array([0, 0, 1]), np.array([0, 1, 1]), 2), 4)
    0.6667
    """
    from sklearn.metrics import f1_score

    return float(
        f1_score(truth, predicted, labels=list(range(num_classes)), average="macro", zero_division=0.0)
    )


def silhouette(rows: Tensor, truth: np.ndarray) -> float:
    """Mean silhouette of vectors [N, D] by cosine distance, from -1 to 1; 0 where one class only is there."""
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(truth)) < len(truth):
        return 0.0
    return float(silhouette_score(normalize(rows, dim=1).numpy(), truth, metric="cosine"))


def tables(model: nn.Module, data: Audio, part: Clips) -> dict[str, Any]:
    """A classifier's confusion and its classes' distances.

    Returns:
        ``classes``; ``confusion`` [C][C], clips by class (rows) and answer; ``distances`` [C][C], cosine distances
        between the classes' mean vectors (nan for a class without clips).
    """
    rows, scores = vectors(model, part)
    num = len(data.classes)
    unit = normalize(rows.double(), dim=1)
    middles = torch.stack([unit[part.labels == label].mean(0) for label in range(num)])
    middles = normalize(middles, dim=1)
    result: dict[str, Any] = {
        "classes": list(data.classes),
        "distances": (1 - middles @ middles.T).tolist(),
    }
    if scores is not None:
        confusion = torch.zeros(num, num, dtype=torch.long)
        confusion.index_put_((part.labels, scores.argmax(1)), torch.tensor(1), accumulate=True)
        result["confusion"] = confusion.tolist()
    return result
