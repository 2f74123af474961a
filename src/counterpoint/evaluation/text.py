"""How well texts are classified: by a classifier's own scores, a probe on sentence vectors, or labels' names alone.

Average precision ranks all texts for one class; its mean over classes counts a rare class as much as a common one.
N texts, C classes, H features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.data.text.load import Texts
from counterpoint.errors import CounterpointError
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
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
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


def measure(model: nn.Module, data: Texts, split: str) -> dict[str, float]:
    """Figures of one split.

    A classifier is measured by its own logits; an encoder by a probe on its sentence vectors, or, where training has no
    labels, by how near they are to those of the labels' names. The latter are always given as ``zero_shot_...``, for a
    classifier as long as its head has seen no labels.

    Raises:
        CounterpointError: data without labels; a classifier of other classes.
    """
    if not data.classes:
        raise CounterpointError(
            f"{data.name} has no labels, so nothing can be measured; run with --no-evaluate, or name a column with label=COLUMN"
        )
    part = data.splits()[split].with_labels()
    tail = data.tail()
    if isinstance(model, TextClassifier):
        result = figures(_logits(model, data, part.texts), part.targets, data.multi_label, tail)
        return result | (_named(result) if getattr(model.head, "zero_shot", False) else {})
    sentences = outputs(model, part.texts)
    names = outputs(model, data.label_texts)
    near = (
        nn.functional.normalize(sentences, dim=1, eps=1e-12)
        @ nn.functional.normalize(names, dim=1, eps=1e-12).T
    )
    zero_shot = figures(near, part.targets, data.multi_label, tail)
    if not bool(data.train.labelled.any()):
        return zero_shot | _named(zero_shot)
    return figures(_probed(model, data, sentences), part.targets, data.multi_label, tail) | _named(zero_shot)


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
