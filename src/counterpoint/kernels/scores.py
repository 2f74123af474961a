"""Scores over a vocabulary: dense logits, or a head that would make them.

Axes: ``...`` positions of any shape, V vocabulary, d width of the hidden states, K entries of a sparse row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Head:
    """Final hidden states with the head that turns them into logits, ``softcap * tanh(scale * (h W^T + b) / softcap)``.

    Attributes:
        hidden: [..., d].
        weight: [V, d].
        bias: [V] or None.
        scale: factor on the logits.
        softcap: None, or the bound c in ``c * tanh(z / c)``.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def __post_init__(self) -> None:
        if self.weight.dim() != 2 or self.hidden.shape[-1] != self.weight.shape[1]:
            raise CounterpointError(
                f"hidden states {tuple(self.hidden.shape)} do not fit the head's weight {tuple(self.weight.shape)}; "
                "expected [..., d] and [V, d]; for example Head(hidden, model.get_output_embeddings().weight)"
            )
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            raise CounterpointError(
                f"a head bias of shape {tuple(self.bias.shape)} was given for {self.weight.shape[0]} vocabulary entries; "
                "expected [V]"
            )

    @property
    def shape(self) -> torch.Size:
        """Shape of the positions, ``...``."""
        return self.hidden.shape[:-1]

    @property
    def vocabulary(self) -> int:
        """Number of vocabulary entries V."""
        return self.weight.shape[0]

    def detach(self) -> Head:
        """Return the same head as a constant."""
        bias = None if self.bias is None else self.bias.detach()
        return Head(self.hidden.detach(), self.weight.detach(), bias, self.scale, self.softcap)

    def __getitem__(self, where: Tensor) -> Head:
        """Select positions by a boolean mask or an index over the leading axes."""
        return Head(self.hidden[where], self.weight, self.bias, self.scale, self.softcap)


@dataclass(frozen=True)
class Sparse:
    """A constant teacher known at K entries per position (stored, or sampled without bias).

    Attributes:
        ids: [..., K] integers.
        probs: [..., K], their (estimated) probabilities; zero for padding.
    """

    ids: Tensor
    probs: Tensor

    @property
    def shape(self) -> torch.Size:
        """Shape of the positions, ``...``."""
        return self.ids.shape[:-1]

    def __getitem__(self, where: Tensor) -> Sparse:
        """Select positions by a boolean mask or an index over the leading axes."""
        return Sparse(self.ids[where], self.probs[where])


Scores = Tensor | Head
Function = TypeVar("Function", bound=Callable[..., Any])


def full_precision(function: Function) -> Function:
    """Switch automatic mixed precision off inside a kernel: half-precision inputs are widened, never the reverse."""

    @functools.wraps(function)
    def call(first: Scores, *args: Any, **kwargs: Any) -> Any:
        device = first.hidden.device if isinstance(first, Head) else first.device
        with torch.autocast(device.type, enabled=False):
            return function(first, *args, **kwargs)

    return call  # type: ignore[return-value]


def wide(x: Tensor) -> Tensor:
    """Return ``x`` in float32 when it is narrower than that: half-precision inputs, full-precision sums."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def positions(scores: Scores) -> torch.Size:
    """Return the shape of the positions.

    >>> positions(torch.zeros(2, 3, 7))
    torch.Size([2, 3])
    """
    return scores.shape if isinstance(scores, Head) else scores.shape[:-1]


def vocabulary(scores: Scores) -> int:
    """Return the number of vocabulary entries."""
    return scores.vocabulary if isinstance(scores, Head) else scores.shape[-1]


def dense(scores: Scores) -> Tensor:
    """Return the logits [..., V], in float32 or wider.

    >>> dense(Head(torch.ones(1, 2), torch.ones(3, 2), scale=0.5)).tolist()
    [[1.0, 1.0, 1.0]]
    """
    if not isinstance(scores, Head):
        return wide(scores)
    bias = None if scores.bias is None else wide(scores.bias)
    logits = torch.nn.functional.linear(wide(scores.hidden), wide(scores.weight), bias)
    if scores.scale != 1.0:
        logits = logits * scores.scale
    if scores.softcap is not None:
        logits = scores.softcap * torch.tanh(logits / scores.softcap)
    return logits


def constant(scores: Scores) -> Scores:
    """Return the same scores without gradient."""
    return scores.detach()


def narrow(scores: Scores, width: int) -> Scores:
    """Keep the first ``width`` vocabulary entries: padded tail rows carry no meaning."""
    if vocabulary(scores) == width:
        return scores
    if isinstance(scores, Head):
        bias = None if scores.bias is None else scores.bias[:width]
        return Head(scores.hidden, scores.weight[:width], bias, scores.scale, scores.softcap)
    return scores[..., :width]
