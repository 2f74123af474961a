"""What a classifier's own predictions may do to labels: stand in for missing ones, and mend doubtful ones (arXiv 2302.09268).

Transductive: confident predictions for unlabelled inputs become labels. Self-calibrated: a training label that a model which
never saw it finds all but impossible is replaced, dropped or blended. The report names both tricks without formulas; these
rules are this project's reading. Shapes: N examples, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from counterpoint.errors import CounterpointError
from counterpoint.objectives.reduction import Loss

KEEP, RELABEL, DROP = 0, 1, 2


def pseudo_labels(logits: Tensor, threshold: float = 0.9) -> tuple[Tensor, Tensor]:
    """([N] the likeliest class, [N] bool whether its probability reaches the threshold); constants.

    >>> pseudo_labels(torch.tensor([[4.0, 0.0], [0.0, 0.1]]))
    (tensor([0, 1]), tensor([ True, False]))
    """
    if not 0 <= threshold <= 1:
        raise CounterpointError(f"threshold={threshold}; expected a probability, such as 0.9")
    confidence, labels = torch.softmax(logits.detach(), -1).max(-1)
    return labels, confidence >= threshold


def pseudo_label_loss(logits: Tensor, labels: Tensor, selected: Tensor, weight: float = 1.0) -> Loss:
    """w times the mean cross-entropy with pseudo-labels over the selected examples; 0 when none is.

    Args:
        logits: [N, C]. labels, selected: [N], from ``pseudo_labels``.
    """
    values = cross_entropy(logits, labels, reduction="none")
    return Loss(torch.where(selected, values, 0.0), counts=selected.to(values.dtype), weight=weight)


@dataclass(frozen=True)
class Repair:
    """What becomes of each label.

    Attributes:
        action: [N], 0 keep, 1 relabel, 2 drop. labels: [N], the label to train on (the given one where dropped).
    """

    action: Tensor
    labels: Tensor


def repair(probabilities: Tensor, labels: Tensor, low: float = 0.1, high: float = 0.9) -> Repair:
    """Relabel where the given class is below ``low`` and another above ``high``; drop where only the first holds.

    Args:
        probabilities: [N, C], of models that did not train on the example they judge. labels: [N].

    >>> repair(torch.tensor([[0.95, 0.05], [0.5, 0.5]]), torch.tensor([1, 1])).labels.tolist()
    [0, 1]
    """
    _check(probabilities, labels)
    best, likeliest = probabilities.max(-1)
    doubted = probabilities.gather(-1, labels[:, None]).squeeze(-1) < low
    action = torch.where(doubted, torch.where(best > high, RELABEL, DROP), KEEP)
    return Repair(action, torch.where(action == RELABEL, likeliest, labels))


def blended(probabilities: Tensor, labels: Tensor, mix: float = 0.3) -> Tensor:
    """[N, C] soft targets ``(1 - m) onehot(y) + m p``.

    >>> blended(torch.tensor([[0.5, 0.5]]), torch.tensor([1]), mix=0.5).tolist()
    [[0.25, 0.75]]
    """
    _check(probabilities, labels)
    if not 0 <= mix <= 1:
        raise CounterpointError(f"mix={mix}; expected a share between 0 (the labels) and 1 (the predictions)")
    given = one_hot(labels, probabilities.shape[1]).to(probabilities)
    return mix * probabilities + (1 - mix) * given


def _check(probabilities: Tensor, labels: Tensor) -> None:
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1]:
        raise CounterpointError(
            f"probabilities {tuple(probabilities.shape)} and labels {tuple(labels.shape)}; expected [N, C] and [N]"
        )
