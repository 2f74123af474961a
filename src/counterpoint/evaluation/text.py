"""How well texts are classified: by a classifier's own scores, a probe on sentence vectors, or labels' names alone.

Average precision ranks all texts for one class; its mean over classes counts a rare class as much as a common one.
N texts, C classes, H features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.data.text.load import Lines, Texts
from counterpoint.data.text.stored_texts import StoredTexts
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.models.text.encoder import TextClassifier

STRENGTHS = tuple(10.0**power for power in range(-4, 4))


@torch.no_grad()
def outputs(model: nn.Module, texts: Sequence[str], size: int = 256, out: str = "sentence") -> Tensor:
    """Sentence vectors [N, H], or logits [N, C] with ``out="logits"``: float32 on the CPU, without dropout.

    Texts go through in the order of their lengths, so that little is padded.
    """
    device = next((p.device for p in [*model.parameters(), *model.buffers()]), torch.device("cpu"))
    training = model.training
    model.eval()
    try:
        lengths = texts.fact("size").tolist() if isinstance(texts, StoredTexts) else list(map(len, texts))
        order = sorted(range(len(texts)), key=lengths.__getitem__)
        collected: list[Tensor] = []
        for start in range(0, len(order), size):
            tokens = model.tokenize([texts[n] for n in order[start : start + size]]).to(device)  # type: ignore[operator]
            collected.append(model(tokens.ids, tokens.mask, out=out).float().cpu())
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order, dtype=torch.long)] = torch.arange(len(order))
        return torch.cat(collected)[back]
    finally:
        model.train(training)


def classify(model: TextClassifier, texts: Sequence[str]) -> list[tuple[str, ...]]:
    """The classes of each text: the best one, or with several labels all whose logit is above 0."""
    logits = outputs(model, texts, out="logits")
    chosen = decided(logits, model.multi_label)
    return [tuple(name for name, on in zip(model.classes, row, strict=True) if on) for row in chosen.tolist()]


def decided(scores: Tensor, multi_label: bool) -> Tensor:
    """[N, C] bool: scores above 0, or each row's best."""
    if multi_label:
        return scores > 0
    return torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1]).bool()


def average_precision(scores: Tensor, targets: Tensor) -> np.ndarray:
    """[C] average precision of each class's ranking of the texts; NaN for a class without texts.

    >>> average_precision(torch.tensor([[3.0], [2.0], [1.0]]), torch.tensor([[True], [False], [True]])).round(3).tolist()
    [0.833]
    """
    from sklearn.metrics import average_precision_score

    return np.array(
        [
            average_precision_score(truth.numpy(), score.double().numpy()) if truth.any() else np.nan
            for score, truth in zip(scores.T, targets.T.bool(), strict=True)
        ]
    )


def figures(scores: Tensor, targets: Tensor, multi_label: bool, tail: Tensor) -> dict[str, float]:
    """Metrics of scores [N, C] against targets [N, C]; classes without a text here are left out of the means.

    Raises:
        CounterpointError: scores that are not finite.
    """
    if not torch.isfinite(scores).all():
        raise CounterpointError(
            "the scores hold NaN or infinite values; the training diverged: lower learning_rate"
        )
    from sklearn.metrics import f1_score

    precision = average_precision(scores, targets)
    there = ~np.isnan(precision)
    rare = there & tail.numpy()
    predicted, truth = decided(scores, multi_label), targets.bool()
    hit = (predicted == truth).all(1) if multi_label else (predicted & truth).any(1)
    return {
        "macro_ap": float(precision[there].mean()),
        "tail_ap": float(precision[rare].mean()) if rare.any() else float(precision[there].min()),
        "accuracy": float(hit.float().mean()),
        "macro_f1": float(
            f1_score(truth[:, there].numpy(), predicted[:, there].numpy(), average="macro", zero_division=0)
        ),
    }


def _labelled(subject: Subject[nn.Module, Texts]) -> Lines:
    """The split's texts with labels.

    Raises:
        CounterpointError: data without labels.
    """
    data = subject.data
    if not data.classes:
        raise CounterpointError(
            f"{data.name} has no labels, so nothing can be measured; run with --no-evaluate, or name a column with --data-option label=COLUMN"
        )
    return subject.once("labelled", lambda: data.splits()[subject.split].with_labels())


def _figures(scores: Tensor, subject: Subject[nn.Module, Texts]) -> dict[str, float]:
    return figures(scores, _labelled(subject).targets, subject.data.multi_label, subject.data.tail())


def _sentences(subject: Subject[nn.Module, Texts]) -> Tensor:
    return subject.once("sentences", lambda: outputs(subject.model, _labelled(subject).texts))


def _by_names(subject: Subject[nn.Module, Texts]) -> dict[str, float]:
    """Figures of how near sentence vectors are to those of the labels' names."""

    def compute() -> dict[str, float]:
        sentences = _sentences(subject)
        names = outputs(subject.model, subject.data.label_texts)
        normalize = nn.functional.normalize
        near = normalize(sentences, dim=1, eps=1e-12) @ normalize(names, dim=1, eps=1e-12).T
        return _figures(near, subject)

    return subject.once("by names", compute)


def answers(subject: Subject[TextClassifier, Texts]) -> dict[str, float]:
    """A classifier by its own logits; also as ``zero_shot_...`` as long as its head has seen no labels.

    Raises:
        CounterpointError: a classifier of other classes.
    """
    model, texts = subject.model, _labelled(subject).texts
    own = _figures(_logits(model, subject.data, texts), subject)
    return own | (_named(own) if getattr(model.head, "zero_shot", False) else {})


def probe(subject: Subject[nn.Module, Texts]) -> dict[str, float]:
    """An encoder by a probe on its sentence vectors."""
    _labelled(subject)
    return _figures(_probed(subject.model, subject.data, _sentences(subject)), subject)


def names(subject: Subject[nn.Module, Texts]) -> dict[str, float]:
    """An encoder, where training has no labels, by the labels' names."""
    return _by_names(subject)


def zero_shot(subject: Subject[nn.Module, Texts]) -> dict[str, float]:
    """An encoder by the labels' names, as ``zero_shot_...``."""
    return _named(_by_names(subject))


def is_probed(model: nn.Module, data: Texts) -> bool:
    """Whether an encoder's figures are a probe's: training has labels."""
    return not isinstance(model, TextClassifier) and bool(data.train.labelled.any())


def is_compared(model: nn.Module, data: Texts) -> bool:
    """Whether they are those of the labels' names: it has none."""
    return not isinstance(model, TextClassifier) and not bool(data.train.labelled.any())


FIGURES = ("macro_ap", "tail_ap", "accuracy", "macro_f1")
MEASUREMENTS: tuple[Measurement[Any, Texts], ...] = (
    Measurement(applies=is_a(TextClassifier), measure=answers),
    Measurement(applies=is_probed, measure=probe, through=dict.fromkeys(FIGURES, "probe")),
    Measurement(applies=is_compared, measure=names, through=dict.fromkeys(FIGURES, "names")),
    Measurement(applies=lambda model, data: not isinstance(model, TextClassifier), measure=zero_shot),
)


def _named(figures: dict[str, float]) -> dict[str, float]:
    return {f"zero_shot_{name}": figures[name] for name in ("macro_ap", "tail_ap", "accuracy")}


def _logits(model: TextClassifier, data: Texts, texts: Sequence[str]) -> Tensor:
    """The classifier's logits in the order of the data's classes."""
    if set(model.classes) != set(data.classes):
        odd = sorted(set(model.classes) ^ set(data.classes))
        raise CounterpointError(
            f"the model knows {len(model.classes)} classes, the data {len(data.classes)}; they differ in {', '.join(odd[:4])}: give "
            "data with the classes it learnt, or train it on this data"
        )
    order = [model.classes.index(name) for name in data.classes]
    return outputs(model, texts, out="logits")[:, order]


def _probed(model: nn.Module, data: Texts, sentences: Tensor) -> Tensor:
    """[N, C] scores of a ridge regression from sentence vectors to targets, its penalty chosen on validation."""
    labelled, held = data.train.with_labels(), data.validation.with_labels()
    rows, check = (outputs(model, part.texts).double() for part in (labelled, held))
    if not torch.isfinite(rows).all():
        raise CounterpointError(
            "the sentence vectors hold NaN or infinite values; the training diverged: lower learning_rate"
        )
    middle, y = rows.mean(0), labelled.targets.double()
    left, singular, right = torch.linalg.svd(rows - middle, full_matrices=False)
    best: tuple[float, Tensor] | None = None
    for strength in STRENGTHS:
        penalty = strength * float((singular**2).mean()) or 1.0
        weight = right.T @ ((singular / (singular**2 + penalty))[:, None] * (left.T @ (y - y.mean(0))))
        guess = (check - middle) @ weight + y.mean(0)
        value = float(np.nanmean(average_precision(guess, held.targets)))
        if best is None or value >= best[0]:
            best = value, weight
    assert best is not None
    return ((sentences.double() - middle) @ best[1] + y.mean(0) - 0.5).float()
