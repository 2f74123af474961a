"""Environments as a task: finite worlds measured by their exact tables where known, others on played episodes."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import singledispatch
from pathlib import Path
from typing import Any

import torch
from torch import nn

from counterpoint.data.environment.finite import FiniteWorld, load_game
from counterpoint.data.environment.gymnasium import VectorWorld, load_gymnasium
from counterpoint.data.environment.stepped import load_lock_world
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.control import best_value
from counterpoint.evaluation.environment import MEASUREMENTS
from counterpoint.evaluation.measurement import measured
from counterpoint.models.environment.categorical_q import CategoricalQ
from counterpoint.models.environment.folder import FOLDERS
from counterpoint.models.environment.low_rank import LowRankModel
from counterpoint.tasks.options import checked_load
from counterpoint.training.report import Report

World = FiniteWorld | VectorWorld
BUNDLED: dict[str, Callable[..., World]] = {"lock": load_lock_world, "game": load_game}


class EnvironmentTask:
    """A world to act in.

    ``return``: expected return of the final policy (with two players: what the first is sure to earn, and ``exploitability``
    of both). ``regret``: summed over rounds, what each round's policy earned less than the best (with two players: its
    exploitability). ``model_error``: total variation between learnt and true transitions. The last two need known tables.
    ``learning_return`` of deep methods: the return of the episode a step of play belonged to, averaged over all steps played
    while learning: the area under the learning curve, by which slow learning and costly exploration are seen.
    """

    kind = "environment"
    on_hub = False  # ids of environments have a slash, too
    primary = "return"
    default_model = "auto"
    lower_is_better = ("regret", "model_error", "exploitability")
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> World:
        """Build a bundled world, or open a gymnasium environment by its id; the options are the loader's."""
        spec = spec.removeprefix("gym:")
        loader = BUNDLED.get(spec)
        if loader is None:
            return checked_load(load_gymnasium, spec, options, f"'{spec}'")
        return checked_load(loader, None, options, f"'{spec}'")

    def load_model(self, spec: str, data: World, seed: int) -> nn.Module:
        """Build what fits the world ("auto"), ``low-rank-<dimension>``, ``c51`` (or ``c51-<hidden>``), or open a folder."""
        match = re.fullmatch(r"auto|low-rank(?:-([1-9]\d*))?|c51(?:-([1-9]\d*))?", spec)
        if match is None:
            return self._saved(Path(spec), data)
        dimension = None if match[1] is None else int(match[1])
        return _fresh(data, spec, dimension, int(match[2] or 256), seed)

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write an ordinary folder."""
        FOLDERS.save(model, folder)

    def evaluate(self, model: nn.Module, data: World, split: str, seed: int = 0) -> dict[str, float]:
        """Measure the final policy, and a learnt model of the world; see ``evaluation.environment``."""
        return measured(self.measurements, model, data, split, seed)

    def of_training(self, report: Report, data: World, split: str) -> dict[str, float]:
        """Figures of the rounds of play: ``regret`` where the tables are known, ``learning_return`` of deep methods."""
        steps = report.column("rounds", "steps")
        if steps:
            return {"learning_return": sum(report.column("rounds", "return_over_steps")) / sum(steps)}
        values = torch.tensor(report.column("rounds", "value"))
        if not len(values) or not isinstance(data, FiniteWorld) or data.tables is None:
            return {}
        best = best_value(data) if data.opponents == 1 else 0.0
        return {"regret": float((best - values).sum())}

    def _saved(self, folder: Path, data: World) -> nn.Module:
        if not (folder / "config.json").is_file():
            raise CounterpointError(
                f"no model '{folder}'; expected auto, low-rank-<dimension>, c51-<hidden> (numbers from 1), or a saved model's folder"
            )
        model = FOLDERS.open(folder)
        wanted, has = (data.size, data.actions), (model.size, model.actions)
        if has != wanted:
            raise CounterpointError(
                f"the model in {folder} was made for a world of size {has[0]} with {has[1]} actions; {data.name} has {wanted[0]} "
                f"and {wanted[1]}"
            )
        return model


@singledispatch
def _fresh(data: World, spec: str, dimension: int | None, hidden: int, seed: int) -> nn.Module:
    """A new model for a world.

    Args:
        spec: the model's name. dimension: of a low-rank model, None for the world's own. hidden: of c51.

    Raises:
        CounterpointError: a model that is for worlds of the other sort.
    """
    raise CounterpointError(f"a {type(data).__name__} is no world; give one that load_data returns")


@_fresh.register
def _(data: VectorWorld, spec: str, dimension: int | None, hidden: int, seed: int) -> nn.Module:
    if spec.startswith("low-rank"):
        raise CounterpointError(
            f"{data.name} has vector observations; load it with --data-option bins=8, or use the model c51"
        )
    return CategoricalQ(data.width, data.actions, hidden=hidden, latent=max(hidden // 4, 8), seed=seed)


@_fresh.register
def _(data: FiniteWorld, spec: str, dimension: int | None, hidden: int, seed: int) -> nn.Module:
    if spec.startswith("c51"):
        raise CounterpointError(
            f"{data.name} has {data.states} states and no vectors; use the model low-rank-{data.rank}, or for c51 show the "
            "states of a gymnasium environment as vectors: --data-option one_hot=true"
        )
    return LowRankModel(
        data.states,
        data.actions,
        data.horizon,
        data.rank if dimension is None else dimension,
        data.opponents,
        data.stationary,
        seed=seed,
    )


TASK = EnvironmentTask()
