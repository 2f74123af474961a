"""A classifier's own predictions as labels: given ones mended by models that never saw them, new ones for texts without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from counterpoint.data.text.load import Texts
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.text import outputs
from counterpoint.models.environment.replay import Replay
from counterpoint.models.text.encoder import Coded, coded
from counterpoint.objectives.labels.self_labels import DROP, RELABEL, blended, pseudo_labels, repair
from counterpoint.training import Run

SHARD = 256
"""Texts per durable shard of predictions."""


@dataclass
class Calibration:
    """Labels are mended before the tuning by models that never saw them.

    Attributes:
        on: whether they are.
        folds: K; every label is judged by a model that trained on the other folds. 1 judges in-sample, which finds little.
        mending: "hard" relabels or drops, "soft" blends labels with predictions by ``mix``.
        low, high: a label below ``low`` is dropped, or replaced where another class is above ``high``.
    """

    on: bool = True
    folds: int = 5
    mending: Literal["hard", "soft"] = "hard"
    low: float = 0.1
    high: float = 0.9
    mix: float = 0.3


@dataclass
class Transduction:
    """A last phase with the classifier's own labels for the inputs.

    Attributes:
        on: whether there is one. inputs: whose texts get own labels: "test", or "unlabelled" training texts.
        threshold: theta, the confidence that an own label needs. weight: w.
    """

    on: bool = True
    inputs: Literal["test", "unlabelled"] = "test"
    threshold: float = 0.9
    weight: float = 0.5


def logits_of(run: Run, net: nn.Module, texts: Sequence[str]) -> Tensor:
    """[N, C] logits of N texts, as a durable stage."""

    def predicted(shard: Sequence[str]) -> list[Tensor]:
        return list(outputs(net, shard, out="logits"))

    return torch.stack(run.stage("say", predicted, over=texts, size=SHARD))


def calibrated(run: Run, rows: Coded, opinions: Replay, how: Calibration) -> Coded:
    """Rows whose labels are mended, if that is wanted, by the predictions of models that had not seen them.

    Args:
        rows: N labelled texts. opinions: of each its ``row`` and the ``probabilities`` [C] that a model gave.

    Raises:
        CounterpointError: every label is dropped.
    """
    if not how.on:
        return rows
    opinion = opinions.column("probabilities")[opinions.column("row").argsort()].cpu()
    labels = rows.targets.argmax(1)
    if how.mending == "soft":
        return replace(rows, targets=blended(opinion, labels, how.mix))
    mended = repair(opinion, labels, how.low, how.high)
    remaining = torch.nonzero(mended.action != DROP)[:, 0]
    run.log(relabelled=float((mended.action == RELABEL).sum()), dropped=len(rows) - len(remaining))
    if not len(remaining):
        raise CounterpointError(
            f"calibration.low={how.low}: the model doubts every label and none is left to train on; lower it, train longer, or use calibration.mending=soft"
        )
    return replace(rows, targets=one_hot(mended.labels, rows.targets.shape[1]).float())[remaining]


def own_labels(run: Run, net: nn.Module, data: Texts, how: Transduction) -> Coded:
    """The inputs that the classifier is sure of, with its labels for them."""
    texts: Sequence[str] = data.test.texts
    if how.inputs == "unlabelled":
        texts = data.train[torch.nonzero(~data.train.labelled)[:, 0]].texts
    labels, selected = pseudo_labels(logits_of(run, net, texts), how.threshold)
    run.log(confident=float(selected.float().mean()))
    if not selected.any():
        run.say(f"no prediction reaches the threshold {how.threshold}: nothing is learnt from the inputs")
    return coded(net, texts, one_hot(labels, len(data.classes)), selected)[torch.nonzero(selected)[:, 0]]
