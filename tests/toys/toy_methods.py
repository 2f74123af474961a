"""Two methods on points: logistic regression, and one that learns nothing useful."""

import os
import signal
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method
from counterpoint.training import Optimizer


@dataclass(kw_only=True)
class Logistic(Method):
    """Logistic regression on points (arXiv 0000.00000, eq. 1)."""

    key: ClassVar[str] = "toy-logistic"
    search: ClassVar[dict[str, Any]] = {"learning_rate": (0.001, 1.0)}

    learning_rate: float = 0.5
    batch_size: int = 16
    smooth: bool = False
    mode: Literal["plain", "sharp"] = "plain"
    hint: float | None = None
    betas: tuple[float, float] = (0.9, 0.95)

    def check(self, data):
        if self.hint == 99:
            raise CounterpointError(f"hint={self.hint}; {len(data.train)} points take no such hint")

    def fit(self, model, data, run):
        if self.hint is not None and self.hint > 9:
            raise CounterpointError(f"hint={self.hint}; expected at most 9")
        model = run.state(model=model)
        run.optimize(model, Optimizer(name="sgd", learning_rate=self.learning_rate))
        stop_at = int(os.environ.get("TOY_STOP_AT", "-1"))
        for batch in run.batches(data.train, self.batch_size, epochs=2):
            x, y = batch.items
            logits = model(x).squeeze(1) * (2.0 if self.mode == "sharp" else 1.0)
            target = y * 0.9 + 0.05 if self.smooth else y
            run.step(binary_cross_entropy_with_logits(logits, target, reduction="none"))
            if batch.step == stop_at:
                os.environ["TOY_STOP_AT"] = "-1"
                signal.raise_signal(signal.SIGTERM)
        return model


@dataclass(kw_only=True)
class Nothing(Method):
    """Shuffles the labels (arXiv 0000.00000)."""

    key: ClassVar[str] = "toy-nothing"

    learning_rate: float = 0.1
    batch_size: int = 16

    def fit(self, model, data, run):
        model = run.state(model=model)
        run.optimize(model, Optimizer(name="sgd", learning_rate=self.learning_rate))
        for batch in run.batches(data.train, self.batch_size, epochs=2):
            x, _ = batch.items
            y = torch.rand(len(x), generator=run.rng).round()
            run.step(binary_cross_entropy_with_logits(model(x).squeeze(1), y, reduction="none"))
        return model


@dataclass(kw_only=True)
class Telling(Method):
    """Learns nothing and reports what it saw (arXiv 0000.00000)."""

    key: ClassVar[str] = "toy-telling"

    examples: int = 5

    def fit(self, model, data, run):
        run.report(
            seen=[{"step": 1, "examples": self.examples + int(torch.rand(1, generator=run.rng) < 0.5)}]
        )
        return run.state(model=model)
