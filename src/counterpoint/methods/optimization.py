"""How language methods descend, as a group of settings that all of them share; each has the defaults of its paper."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from counterpoint.errors import CounterpointError
from counterpoint.training.optimizer import Optimizer


@dataclass
class Cosine:
    """The optimiser and its schedule; the learning rate stands beside this group.

    Attributes:
        name: the rule.
        schedule: of the learning rate over the loop; "steps" divides it by ten at one half and at three quarters.
        warmup: share of the loop over which the rate rises linearly from 0.
        weight_decay: on matrices; biases and normalisation are spared.
        max_grad_norm: the gradient is clipped to this norm; none leaves it alone.
        momentum: of sgd.
        betas: of adam and adamw.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    schedule: Literal["constant", "cosine", "linear", "steps"] = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        """Refuse what no optimiser can have; numbers below 0 or not finite are refused by the method."""
        usual = type(self).__dataclass_fields__
        for name, fits, expected in (
            ("warmup", not 1 < self.warmup < math.inf, "a share of the loop, from 0 to 1"),
            ("momentum", not 1 <= self.momentum < math.inf, "a number from 0 to below 1"),
            ("betas", all(0 <= beta < 1 for beta in self.betas), "two numbers from 0 to below 1"),
            ("max_grad_norm", self.max_grad_norm != 0, "a number above 0, or none"),
        ):
            if not fits:
                value = getattr(self, name)
                raise CounterpointError(
                    f"optimizer.{name}={value}; expected {expected}, for example {usual[name].default}"
                )

    def at(self, learning_rate: float) -> Optimizer:
        """The optimiser's settings with a learning rate.

        >>> Cosine(warmup=0.5).at(2.0).rate(0.25)
        1.0
        """
        return Optimizer(
            name=self.name,
            learning_rate=learning_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            betas=self.betas,
            schedule=self.schedule,
            warmup=self.warmup,
            max_grad_norm=self.max_grad_norm,
        )


@dataclass
class Linear(Cosine):
    """As ``Cosine``; the rate falls linearly."""

    schedule: Literal["constant", "cosine", "linear", "steps"] = "linear"


@dataclass
class CosineDecayed(Cosine):
    """As ``Cosine``, with weight decay."""

    weight_decay: float = 0.01


@dataclass
class Constant(Cosine):
    """As ``Cosine``; the rate stays as it is from the first step on."""

    schedule: Literal["constant", "cosine", "linear", "steps"] = "constant"
    warmup: float = 0.0


@dataclass
class ConstantAdam(Constant):
    """As ``Constant``, by Adam with a shorter memory of squares."""

    name: Literal["adamw", "adam", "sgd"] = "adam"
    betas: tuple[float, float] = (0.9, 0.95)
