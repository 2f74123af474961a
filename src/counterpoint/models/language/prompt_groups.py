"""Answers to one prompt go through a model behind one copy of it: which rows share, and their states.

The setting is ``kernels.sharing.share_prompts``: "auto" shares where the prompt tokens saved outweigh the second
call, no dropout is active and the model's cache holds keys and values; "on" wherever a prompt occurs twice and the model
can; "off" never. States and gradients are those of whole sequences, up to rounding. B rows, P distinct prompts, T answer
positions, D width.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from counterpoint.kernels.prefix import shared_prompt_states
from counterpoint.kernels.prefix.choice import dropping, obstacle, worth_sharing
from counterpoint.kernels.sharing import sharing
from counterpoint.models import sharding
from counterpoint.models.language.own_forward import Pass
from counterpoint.models.tokens import Tokens, join

logger = logging.getLogger("counterpoint")


class Causal(Protocol):
    """What is asked of a language model here: a backbone, and hidden states for tokens and mask."""

    @property
    def backbone(self) -> Any:
        """What makes hidden states, a transformers model without its head."""

    @property
    def runs(self) -> Pass:
        """How it must be run; rows share their prompt only where nothing had to be given up."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Hidden states [B, L, D] of tokens and mask [B, L]; with ``last`` and ``share`` as of ``Language.forward``."""


@dataclass(frozen=True)
class Groups:
    """Which rows have the same prompt.

    Attributes:
        first: [P], one row of each distinct prompt.
        owner: [B], the number of each row's prompt in ``first``.

    >>> from counterpoint.models.tokens import pad
    >>> found = Groups.of(pad([[5, 6], [4], [5, 6]], side="left"))
    >>> found.first.tolist(), found.owner.tolist()
    ([1, 0], [1, 0, 1])
    """

    first: Tensor
    owner: Tensor

    @classmethod
    def of(cls, prompts: Tokens) -> Groups:
        """Find the rows with the same tokens; what stands on padding does not matter."""
        read = prompts.ids.masked_fill(prompts.mask == 0, -1)
        distinct, owner = torch.unique(read, dim=0, return_inverse=True)
        places = torch.arange(len(read), device=read.device)
        first = places.new_full((len(distinct),), len(read)).scatter_reduce(0, owner, places, "amin")
        return cls(first, owner)


def groups(model: Causal, prompts: Tokens) -> Groups | None:
    """Return the groups when the rows should go through the model by prompt; None when each should bring its own.

    Args:
        model: the language model.
        prompts: [B, L] left-padded, one row per answer.
    """
    setting, backbone, rows = sharing(), model.backbone, len(prompts)
    auto = setting == "auto"
    if setting == "off" or rows < 2 or not prompts.width or sharding.apart(model):
        return None
    if auto and not worth_sharing(backbone, rows, 1, prompts.width):
        return None  # not even if all prompts were one: small models never look further
    if bool((prompts.ids < 0).any()):
        return None  # rows with pictures go through the model one by one
    grouped = Groups.of(prompts)
    if len(grouped.first) == rows or not bool(prompts.mask[:, -1].all()):
        return None
    if auto and (not worth_sharing(backbone, rows, len(grouped.first), prompts.width) or dropping(backbone)):
        return None
    hindrance = obstacle(backbone) if model.runs.fast else "its scores take the plain path"
    if hindrance is not None:
        _say(f"{type(backbone).__name__}: answers do not share their prompt's pass, because {hindrance}")
        return None
    return grouped


def answer_states(
    model: Causal, prompts: Tokens, answers: Tokens, *, forward: Callable[..., Any] | None = None
) -> Tensor:
    """Return the states that predict every answer token, [B, T, D]; rows with one prompt share its pass where it pays.

    Args:
        model: the language model.
        prompts: [B, L] left-padded.
        answers: [B, T] right-padded.
        forward: how to call the model, ``run.forward`` in training (micro-batches, precision); plainly when None.

    >>> from counterpoint.kernels.sharing import share_prompts
    >>> from counterpoint.models.language.characters import tiny
    >>> model = tiny(seed=0).eval()
    >>> asked, said = model.prompts(["20+2="] * 3), model.completions(["22", "4", "23"])
    >>> apart = answer_states(model, asked, said)
    >>> with share_prompts("on"):
    ...     shared = answer_states(model, asked, said)
    >>> bool(torch.allclose(shared, apart, atol=1e-5))
    True
    """
    both, grouped = join(prompts, answers), groups(model, prompts)
    call = forward or _plainly
    if grouped is None:
        return call(model, both.ids, both.mask, last=answers.width)
    # Neighbours, so that a micro-batch holds a prompt's answers together; whichever it holds share within it.
    order = grouped.owner.argsort(stable=True)
    states = call(model, both.ids[order], both.mask[order], last=answers.width, share=True)
    return states.index_select(0, order.argsort())


def shared_states(backbone: nn.Module, ids: Tensor, mask: Tensor, last: int) -> Tensor | None:
    """States before the last tokens of joined rows, [B, last, D], behind shared prompts; None where none occurs twice."""
    prompts = Tokens(ids[:, :-last], mask[:, :-last])
    grouped = Groups.of(prompts)
    if len(grouped.first) == len(prompts):
        return None
    once = prompts[grouped.first]
    return shared_prompt_states(backbone, once.ids, once.mask, ids[:, -last:], mask[:, -last:], grouped.owner)


def _plainly(model: Causal, *args: Any, **kwargs: Any) -> Tensor:
    return model(*args, **kwargs)


@functools.cache
def _say(line: str) -> None:
    logger.warning(line)
