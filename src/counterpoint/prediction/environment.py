"""What models of worlds say: a network's action values at observations, a learnt world's policy and where actions lead."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models.environment.categorical_q import CategoricalQ
from counterpoint.models.environment.counts import CountedModel
from counterpoint.models.environment.low_rank import LowRankModel
from counterpoint.prediction.predictor import Predictor, Row, Settings, names, numbers


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """``action`` with ``values`` of a network; ``action`` with ``policy`` of a tabular world, and ``next`` where the row has an action."""
    if isinstance(model, CategoricalQ):
        return _network(model, settings)
    return _world(cast(CountedModel | LowRankModel, model), settings)


def _network(model: CategoricalQ, settings: Settings) -> Predictor:
    columns = names(settings, ("observation", "state"))

    def read(row: Row) -> Tensor:
        given = row.cell(columns, "observation")
        try:
            values = torch.tensor(given, dtype=torch.float32)
        except (TypeError, ValueError):
            values = torch.empty(0)
        if values.shape != (model.width,) or not values.isfinite().all():
            raise CounterpointError(
                f"{row.where}: expected an observation of {model.width} finite numbers, got {given!r:.80}"
            )
        return values

    @torch.no_grad()
    def answer(rows: list[Tensor]) -> list[dict[str, Any]]:
        values = model.values(torch.stack(rows).to(model.mean.device))
        best = values.argmax(-1).tolist()
        return [{"action": at, "values": row} for at, row in zip(best, numbers(values), strict=True)]

    example = f'[{{"observation": {[0.0] * model.width}}}]'
    return Predictor(
        what="action values", plain="observation", read=read, answer=answer, size=1024, example=example
    )


def _world(model: CountedModel | LowRankModel, settings: Settings) -> Predictor:
    transition = model.transition()
    sizes = {
        "state": model.states,
        "step": model.horizon,
        "action": model.first.shape[-1],
        "opponent": model.opponents,
    }

    def whole(row: Row, name: str, default: int | None = None) -> int:
        given = row.cell((name,), name) if default is None else row.cells.get(name, default)
        value = -1
        if (
            isinstance(given, str | int | float)
            and not isinstance(given, bool)
            and str(given).strip().isdecimal()
        ):
            value = int(given)
        if not 0 <= value < sizes[name]:
            raise CounterpointError(
                f"{row.where}: {name} {given!r}; expected a whole number from 0 to {sizes[name] - 1}"
            )
        return value

    def read(row: Row) -> tuple[int, int, int | None]:
        state, step = whole(row, "state"), whole(row, "step", 0)
        if row.cells.get("action") is None:
            return state, step, None
        action, opponent = whole(row, "action"), whole(row, "opponent", 0)
        return state, step, (state * sizes["action"] + action) * model.opponents + opponent

    def answer(rows: list[tuple[int, int, int | None]]) -> list[dict[str, Any]]:
        answers = []
        for state, step, pair in rows:
            policy = model.first[min(step, len(model.first) - 1), state]
            one: dict[str, Any] = {"action": int(policy.argmax()), "policy": numbers(policy[None])[0]}
            if pair is not None:
                one["next"] = numbers(transition[min(step, len(transition) - 1), pair][None])[0]
            answers.append(one)
        return answers

    return Predictor(
        what="policies",
        plain="state",
        read=read,
        answer=answer,
        size=1024,
        example='[{"state": 0, "step": 0}]',
    )
