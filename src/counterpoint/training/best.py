"""Keeps the weights of the epoch that did best on validation. A registered state, so that a resumed run agrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Best:
    """The best epoch so far: its score and a copy of the trainable weights.

    Args:
        model: whose weights are kept.
        measure: higher is better; measured once per finished epoch. None keeps nothing and costs nothing.

    Usage: ``best = run.state(best=Best(model, measure))``; ``best.before(batch.epoch)`` at the top of the loop's body;
    ``run.once("best", best.restore)`` after the loop.
    """

    def __init__(self, model: nn.Module, measure: Callable[[], float] | None) -> None:
        self.model, self.measure = model, measure
        self.score, self.epoch, self.measured = float("-inf"), -1, 0
        self.weights: dict[str, torch.Tensor] = {}

    def before(self, epoch: int) -> None:
        """Measure the epoch that has just ended, when ``epoch`` begins."""
        if self.measure is not None and epoch > self.measured:
            self._look(epoch - 1)
            self.measured = epoch

    def restore(self) -> None:
        """Measure the last epoch, and put the best one's weights into the model."""
        if self.measure is None:
            return
        self._look(self.measured)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in self.weights:
                    parameter.copy_(self.weights[name])

    def _look(self, epoch: int) -> None:
        assert self.measure is not None
        score = self.measure()
        if score > self.score or not self.weights:
            self.score, self.epoch = score, epoch
            self.weights = {
                n: p.detach().clone() for n, p in self.model.named_parameters() if p.requires_grad
            }

    def state_dict(self) -> dict[str, Any]:
        """Score, epoch and weights."""
        return {
            "score": self.score,
            "epoch": self.epoch,
            "measured": self.measured,
            "weights": dict(self.weights),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them back."""
        self.score, self.epoch, self.measured = (
            float(state["score"]),
            int(state["epoch"]),
            int(state["measured"]),
        )
        self.weights = dict(state["weights"])
