"""How a vision-language model reads rows with pictures: several together, and keeping keys and values, where that changes nothing.

Families differ in how they join the pixels of several rows and in what they remember beside a cache. So each way is tried once, on the
first rows, against reading every row whole and alone, which all families do alike. B rows, L positions, D width, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.kernels.evaluating import evaluating
from counterpoint.models import tokens
from counterpoint.models.language.vision.pictures import Pictures
from counterpoint.models.tokens import Tokens


class PicturePasses:
    """The passes of one model.

    Args:
        model: a ``Running``. pictures: what reads the pictures of its rows.

    Attributes:
        joins: whether rows with pictures go through it together as they go alone; None until that is tried.
        caches: whether sampling after pictures keeps keys and values; None until that is tried.
    """

    def __init__(self, model: Any, pictures: Pictures) -> None:
        self.model, self.pictures = model, pictures
        self.joins: bool | None = None
        self.caches: bool | None = None

    def states(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """States [B, L, D] of rows some of which have pictures: these together where the model reads them so, else each alone."""
        seen_B = (ids_BL < 0).any(1)
        head = self.model.head.weight
        states_BLD = ids_BL.new_zeros(*ids_BL.shape, head.shape[1], dtype=head.dtype)
        for pictured in (True, False):
            rows = ((seen_B == pictured) & mask_BL.any(1)).nonzero().squeeze(1)
            if not len(rows):
                continue
            flush = tokens.trim(tokens.left(Tokens(ids_BL[rows], mask_BL[rows])))
            states = self._of_pictures(flush) if pictured else self.model._hidden(flush.ids, flush.mask)
            row, column = mask_BL[rows].nonzero(as_tuple=True)
            own = states[row, tokens.positions(mask_BL[rows])[row, column]]
            states_BLD = states_BLD.to(own.dtype).index_put((rows[row], column), own)
        return states_BLD

    def inputs(self, rows: Tokens) -> dict[str, Any] | None:
        """What the model is given for rows with pictures, ids among it; None where their pixels cannot be put together."""
        takes = inspect.signature(self.model._target.forward).parameters
        every = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in takes.values())
        given = self.pictures.inputs(rows.ids, None if every else list(takes))
        if given is None:
            return None
        kind = self.model.head.weight.dtype
        given = {n: v.to(kind) if v.is_floating_point() else v for n, v in given.items()}
        return {"ids_BL": given.pop("input_ids"), **given}

    def may_cache(
        self,
        prompts: Tokens,
        step: Callable[[Tensor, Tensor, Any], tuple[Tensor, Any]],
        read: Callable[[Tensor, Tensor], Tensor],
    ) -> bool:
        """Whether keys and values serve after these prompts as reading again does.

        A model that counts positions by pictures remembers them for the rows it read last; rows that end early would shift them.

        Args:
            prompts: that sampling begins with. step: a step with a cache: logits and the cache. read: logits without one.
        """
        if any(hasattr(module, "rope_deltas") for module in self.model.base.modules()):
            return False
        if not bool((prompts.ids < 0).any(1).all()) or self.inputs(prompts) is None:
            return False
        if self.caches is None:
            new_B1 = read(prompts.ids, prompts.mask).argmax(-1, keepdim=True)
            ids, mask = (
                torch.cat([prompts.ids, new_B1], 1),
                torch.cat([prompts.mask, torch.ones_like(new_B1)], 1),
            )
            self.caches = agree(
                lambda: step(new_B1, mask, step(prompts.ids, prompts.mask, None)[1])[0][:, None],
                lambda: read(ids, mask)[:, None],
                torch.ones_like(new_B1),
            )
        return self.caches

    def never_written(self, logits_BV: Tensor) -> Tensor:
        """The same logits without the token that stands for pictures: sampled, it would have no pixels, and the next pass would fail."""
        token = torch.tensor([self.pictures.token], device=logits_BV.device)
        return logits_BV.index_fill(1, token, torch.finfo(logits_BV.dtype).min)

    def _of_pictures(self, rows: Tokens) -> Tensor:
        """States of rows with pictures, which stand at the left."""
        if len(rows) < 2 or self.joins is False:
            return self._alone(rows)
        joined = self.inputs(rows)
        if joined is None:
            return self._alone(rows)
        if self.joins is None:
            with torch.no_grad(), evaluating(self.model):
                self.joins = agree(lambda: self._run(rows, joined), lambda: self._alone(rows), rows.mask)
            if not self.joins:
                return self._alone(rows)
        return self._run(rows, joined)

    def _alone(self, rows: Tokens) -> Tensor:
        """The same, each row by itself, without padding."""
        parts = []
        for ids, length in zip(rows.ids, rows.lengths.tolist()):
            row = Tokens(ids[None, :length], torch.ones_like(ids[None, :length]))
            given = self.inputs(row)
            assert given is not None
            parts.append(nn.functional.pad(self._run(row, given)[0], (0, 0, 0, rows.width - length)))
        return torch.stack(parts)

    def _run(self, rows: Tokens, given: dict[str, Any]) -> Tensor:
        states: Tensor = self.model._states(
            self.model._target, mask_BL=rows.mask, use_cache=False, counted=False, **given
        )[0]
        return states


def agree(one: Callable[[], Tensor], other: Callable[[], Tensor], mask_BL: Tensor) -> bool:
    """Whether two ways to the same states (or logits) [B, L, D] come to the same, to rounding.

    A model that cannot go the first way is no error: it then goes the other.
    """
    try:
        first = one()
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError):
        return False
    second = other()
    if first.shape != second.shape:
        return False
    # What stands for minus infinity (a token that cannot be sampled) is in both, and would drown the rest.
    there = mask_BL.bool()[..., None] & (second > torch.finfo(second.dtype).min / 2)
    difference = (first - second).float().abs()[there].max()
    rounding = 1e-3 if second.dtype == torch.float32 else 1e-6 if second.dtype == torch.float64 else 5e-2
    return bool(difference <= rounding * second.float().abs()[there].max())
