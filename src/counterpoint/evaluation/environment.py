"""What is measured of policies: the expected return by a world's exact tables or on played episodes, and the error of a learnt model.

``return``: expected return of the final policy (with two players: what the first is sure to earn, and ``exploitability`` of
both). ``model_error``: total variation between learnt and true transitions. "validation" and "test" differ in the seeds of played
episodes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from counterpoint.data.environment.finite import FiniteWorld
from counterpoint.data.environment.gymnasium import VectorWorld
from counterpoint.data.environment.play import mean_return
from counterpoint.evaluation.control import guaranteed, played_return, total_variation
from counterpoint.evaluation.measurement import Measurement, Subject
from counterpoint.models.environment.categorical_q import CategoricalQ
from counterpoint.models.environment.counts import CountedModel
from counterpoint.models.environment.low_rank import LowRankModel
from counterpoint.models.environment.planning import policy_value

EPISODES = {"finite": 200, "vector": 20}

Policies = LowRankModel | CountedModel


def _start(subject: Subject[Any, Any]) -> int:
    """Seed of the first episode."""
    return 1_000_003 * (subject.seed + 1) + (500_000 if subject.split == "test" else 0)


@torch.no_grad()
def greedy(subject: Subject[CategoricalQ, VectorWorld]) -> dict[str, float]:
    """``return`` of episodes played by the best action values."""
    model = subject.model
    played = mean_return(
        subject.data, lambda x: model.values(x).argmax(-1), EPISODES["vector"], _start(subject)
    )
    return {"return": played}


@torch.no_grad()
def played(subject: Subject[Policies, FiniteWorld]) -> dict[str, float]:
    """``return`` of episodes in a world whose tables are not known."""
    model = subject.model
    earned = played_return(model.first, model.second, subject.data, EPISODES["finite"], _start(subject))
    return {"return": earned}


@torch.no_grad()
def exact(subject: Subject[Policies, FiniteWorld]) -> dict[str, float]:
    """``return`` by the exact tables, for two players with ``exploitability``."""
    model, data = subject.model, subject.data
    if data.opponents > 1:
        return dict(
            zip(("return", "exploitability"), guaranteed(model.first, model.second, data), strict=True)
        )
    tables = data.tables
    assert tables is not None
    return {"return": policy_value(tables.transition, tables.reward, tables.start, model.first.double())}


@torch.no_grad()
def model_error(subject: Subject[Policies, FiniteWorld]) -> dict[str, float]:
    """``model_error`` of a learnt model against the exact tables."""
    return {"model_error": total_variation(subject.model.transition(), subject.data)}


def _acts_by_values(model: nn.Module, data: Any) -> bool:
    return isinstance(model, CategoricalQ) and isinstance(data, VectorWorld)


def _has_tables(model: nn.Module, data: Any) -> bool:
    return isinstance(model, Policies) and isinstance(data, FiniteWorld) and data.tables is not None


def _has_none(model: nn.Module, data: Any) -> bool:
    return isinstance(model, Policies) and isinstance(data, FiniteWorld) and data.tables is None


MEASUREMENTS: tuple[Measurement[Any, Any], ...] = (
    Measurement(applies=_acts_by_values, measure=greedy),
    Measurement(applies=_has_none, measure=played),
    Measurement(applies=_has_tables, measure=exact),
    Measurement(applies=_has_tables, measure=model_error),
)
