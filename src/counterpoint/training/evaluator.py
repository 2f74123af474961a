"""Measures the model every so many steps, keeps the best one's folder, and says when to stop. A registered state of the Run.

It draws its random numbers from seeds of its own and leaves every module in the mode it was in, so that a run that is measured
takes the same steps as one that is not. Knows models and steps; what is measured, and how a model is written, is given to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from counterpoint.models import sharding
from counterpoint.training import distributed

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """Figures of a model, and the one it is ranked by; higher is better."""

    figures: Figures
    value: float


class Evaluator:
    """The evaluation of a run.

    Args:
        every: steps between two measurements.
        measure: a model's figures on the validation split; the first process calls it, or all do.
        write: writes the folder of a model that is better than all before; called as ``measure`` is.
        model_of: the model in a trained module, which is measured; None where there is none.
        patience: measurements in a row without a better one after which training stops; None never stops it.

    Attributes:
        best: the best value so far, of ``step``; None before the first. since: measurements that followed it.
        stopped: whether no more steps are to be taken. part: which registered module these are of.
    """

    def __init__(
        self,
        every: int,
        measure: Callable[[nn.Module], Measured],
        write: Callable[[nn.Module], None],
        *,
        model_of: Callable[[nn.Module], nn.Module | None] = lambda net: net,
        patience: int | None = None,
    ) -> None:
        self.every, self.patience = every, patience
        self.measure, self.write, self.model_of = measure, write, model_of
        self.best: float | None = None
        self.step, self.since, self.last, self.stopped, self.part = 0, 0, 0, False, ""
        self.net: nn.Module | None = None
        self.name = ""

    def train(self, net: nn.Module, part: str) -> None:
        """From now on this module is trained, registered under ``part``."""
        self.net, self.name = self.model_of(net), part

    def due(self, step: int) -> bool:
        """Whether the model is to be measured after this step."""
        return self.net is not None and not self.stopped and step % self.every == 0

    def look(self, step: int, first: bool) -> Figures:
        """Measure the model after a step; only the first process does, and all know what came of it. Of weights in shards all do:
        each measures the same rows, in step with the others.

        Returns:
            The figures; {} on the other processes.
        """
        assert self.net is not None
        if (
            self.part != self.name
        ):  # another model than before: what was best of that one is no measure for it
            self.best, self.since, self.part = None, 0, self.name
        figures: Figures = {}
        value = torch.zeros(1, dtype=torch.float64)
        together = bool(sharding.sharded_in(self.net))
        if first or together:
            measured = self._measured(self.net)
        if first:
            figures, value[0] = measured.figures, measured.value
        value = distributed.total(value.to(next(self.net.parameters()).device))
        if self.better(float(value)):
            if first or together:
                self.write(self.net)
            self.best, self.step, self.since = float(value), step, 0
        else:
            self.since += 1
        self.last = step
        self.stopped = self.patience is not None and self.since >= self.patience
        return figures

    def better(self, value: float) -> bool:
        """Whether a value is above the best one; one that is no number never is.

        >>> nothing = Evaluator(1, lambda model: Measured({}, 0.0), lambda model: None)
        >>> nothing.better(0.0), nothing.better(float("nan"))
        (True, False)
        """
        return not math.isnan(value) and (self.best is None or value > self.best)

    def go_on(self) -> None:
        """Under a larger budget: more steps are taken, and patience begins anew."""
        self.stopped, self.since = False, 0

    def state_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {name: getattr(self, name) for name in ("best", "step", "since", "last", "stopped", "part")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From plain data."""
        for name, value in state.items():
            setattr(self, name, value)

    def _measured(self, net: nn.Module) -> Measured:
        modes = {module: module.training for module in net.modules()}
        try:
            return self.measure(net)
        finally:
            for module, training in modes.items():
                module.training = training
