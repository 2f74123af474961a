"""How a causal language model of transformers is run: tokens in, the hidden states that feed its head out.

Knows: padding, parts of like length, packed rows, shared prompts, the head's bias; which pass, scale and soft-cap a model
needs is found by ``own_forward``. Does not know: tokenizers, text, losses. B rows, L positions, D width, V vocabulary.
"""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.kernels.prefix.cache_names import cache_argument, returned_cache
from counterpoint.kernels.prefix.choice import attention_reach, call_in_positions
from counterpoint.kernels.scores import Head, dense
from counterpoint.models import deferred, passes, sharding, tokens
from counterpoint.models.language import prompt_groups
from counterpoint.models.language.adapters import check_head
from counterpoint.models.language.like_lengths import states_in_parts
from counterpoint.models.language.own_forward import Pass, settle
from counterpoint.models.language.packing import packed_states
from counterpoint.models.language.vision.passes import PicturePasses
from counterpoint.models.language.vision.pictures import Pictures
from counterpoint.models.tokens import Tokens


@dataclass
class Read:
    """What stands for a cache where a model decodes without one: the tokens that were read, [B, L]."""

    ids: Tensor

    def batch_select_indices(self, rows: Tensor) -> None:
        """Keep some rows, as transformers' caches do."""
        self.ids = self.ids[rows]


class Running(nn.Module):
    """A causal language model without its tokenizer.

    Args:
        causal: a transformers causal model, or a PEFT model around one.
        runs: how it must be run, where that is settled already; None tries it on a few tokens.
        pictures: of a vision-language model, what reads the pictures of rows.

    Attributes:
        packs: whether rows of unequal length go through it in packed sequences; ``packing.pack`` sets it.
        pictured: how it reads rows with pictures; None where it is for text.

    Raises:
        CounterpointError: not a causal model, one whose own scores cannot be had, or one whose head has an adapter.
    """

    def __init__(self, causal: nn.Module, runs: Pass | None = None, pictures: Pictures | None = None) -> None:
        super().__init__()
        self.pictures = pictures
        self.causal: Any = causal
        self.packs = False
        self.pictured: PicturePasses | None = None
        check_head(self.base)
        self.runs = Pass() if runs is None else runs
        if runs is None:
            there = deferred.sources(self.base)
            with deferred.streamed(self.base, sharding.blocks_of(self.base)) if there else nullcontext():
                self.runs = settle(self, few=bool(there))
        if pictures is not None:  # what a model can do is settled by text, where no token is left out
            self.pictured = PicturePasses(self, pictures)

    @property
    def base(self) -> Any:
        """The transformers model, with adapters in place when there are any."""
        return self.causal.get_base_model() if self.adapted else self.causal

    @property
    def backbone(self) -> Any:
        """What makes hidden states: the transformers model without its head."""
        return self.base.base_model

    @property
    def adapted(self) -> bool:
        """Whether LoRA adapters are on."""
        return hasattr(self.causal, "peft_config") and hasattr(self.causal, "get_base_model")

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.base.config

    @property
    def device(self) -> torch.device:
        """Where the weights are, or, of those that are still in their files, where they will be read."""
        here = next(self.parameters()).device
        return torch.device("cpu") if here.type == "meta" and deferred.sources(self) else here

    @property
    def limit(self) -> int | None:
        """Longest sequence the model's positions reach, if it says so."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None)

    def forward(
        self, ids_BL: Tensor, mask_BL: Tensor, last: int | None = None, share: bool = False
    ) -> Tensor:
        """Return the hidden states after the final norm, those that the head reads.

        Args:
            ids_BL: [B, L] token ids.
            mask_BL: [B, L], 0 on padding (left, right or both).
            last: return only the ``last`` positions that predict the last ``last`` tokens.
            share: rows with the same tokens before the last ones go through together (``prompt_groups`` says when).

        Returns:
            [B, L, D]; position t predicts token t + 1. With ``last=T``: [B, T, D], position t predicts token L - T + t.
        """
        if sharding.apart(self):
            return self._in_step(ids_BL, mask_BL, last)
        limit = passes.token_limit()
        if limit is not None and not torch.is_grad_enabled() and len(ids_BL) > 1:
            parts = passes.within(mask_BL.sum(1).tolist(), limit)
            if len(parts) > 1:
                return self._in_parts(parts, ids_BL, mask_BL, last, share)
        if not len(
            ids_BL
        ):  # a process without a row of a small last batch; transformers reshape to -1, which fails
            return self.head.weight.new_zeros(
                0, ids_BL.shape[1] if last is None else last, self.head.weight.shape[1]
            )
        if share and last is not None and last < ids_BL.shape[1]:
            states_BTD = prompt_groups.shared_states(self.backbone, ids_BL, mask_BL, last)
            if states_BTD is not None:
                return states_BTD
        if last is None:
            return self._hidden(ids_BL, mask_BL)
        self._check_last(ids_BL, last)
        if mask_BL.all():
            return self._hidden(ids_BL, mask_BL)[:, -last - 1 : -1]
        # Padding between the columns of prompts and answers, and behind short rows, costs as much as tokens do.
        flush = tokens.trim(tokens.left(Tokens(ids_BL, mask_BL)))
        if self.packs and not self._pictured(flush.ids):
            hidden_BLD = self.packed(flush)
        elif self.runs.padded:
            hidden_BLD = states_in_parts(flush, call_in_positions(self.backbone), self._together)
        else:
            hidden_BLD = self._by_length(flush.ids, flush.mask)
        return self._last_of(hidden_BLD, mask_BL, last)

    @staticmethod
    def _check_last(ids_BL: Tensor, last: int) -> None:
        if last >= ids_BL.shape[1]:
            raise CounterpointError(
                f"last={last} of {ids_BL.shape[1]} positions: the first token of a row is predicted by nothing; "
                "put a prompt in front"
            )

    @staticmethod
    def _last_of(hidden_BLD: Tensor, mask_BL: Tensor, last: int) -> Tensor:
        """States [B, last, D] that predict the last tokens, from those of rows moved to the left."""
        column_BT = tokens.positions(mask_BL)[:, -last - 1 : -1]
        states_BTD = hidden_BLD.gather(1, column_BT[..., None].expand(-1, -1, hidden_BLD.shape[-1]))
        blind_BT = (mask_BL.cumsum(1) == 0)[
            :, -last - 1 : -1
        ]  # before the first token of a row without a prompt
        return (
            states_BTD.masked_fill(blind_BT[..., None], 0)
            if blind_BT[mask_BL[:, -last:] > 0].any()
            else states_BTD
        )

    def _in_step(self, ids_BL: Tensor, mask_BL: Tensor, last: int | None) -> Tensor:
        """``forward`` of weights in shards: one pass on every process, whatever its rows; one without rows reads two tokens."""
        if not len(ids_BL):
            ids_12 = ids_BL.new_zeros(1, 2)
            states = self._together(ids_12, torch.ones_like(ids_12))[:0, :1]
            return states.expand(0, ids_BL.shape[1] if last is None else last, -1).clone()
        if last is None:
            return self._together(ids_BL, mask_BL)
        self._check_last(ids_BL, last)
        flush = tokens.trim(tokens.left(Tokens(ids_BL, mask_BL)))
        return self._last_of(self._together(flush.ids, flush.mask), mask_BL, last)

    def row_lengths(self, ids_BL: Tensor, mask_BL: Tensor, **_: Any) -> list[int]:
        """What each row of ``forward`` costs, in tokens."""
        return mask_BL.sum(1).tolist()

    def _in_parts(
        self, parts: list[slice], ids_BL: Tensor, mask_BL: Tensor, last: int | None, share: bool
    ) -> Tensor:
        """Without gradient: rows in parts of a limited number of tokens, each as wide as its own longest row."""
        if last is not None:
            return torch.cat([self(ids_BL[part], mask_BL[part], last, share) for part in parts])
        states = None
        for part in parts:
            columns = mask_BL[part].any(0).nonzero().flatten()
            inside = slice(int(columns[0]), int(columns[-1]) + 1) if len(columns) else slice(0, 1)
            some = self(ids_BL[part, inside], mask_BL[part, inside])
            if states is None:
                states = some.new_zeros(*ids_BL.shape, some.shape[-1])
            states[part, inside] = some
        assert states is not None
        return states

    def decode(self, ids_BL: Tensor, mask_BL: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """One decoding step: logits [B, V] after the last of ``ids_BL``, and the grown key/value cache.

        Args:
            ids_BL: the tokens that the cache does not hold yet.
            mask_BL: the mask over the cache's positions and these.
            cache: what the step before returned; None at the prompt.
        """
        again = not self.runs.cached or isinstance(cache, Read)
        if cache is None and self._pictured(ids_BL):
            assert self.pictured is not None
            read = lambda ids, mask: self._read_again(ids, mask)[0]  # noqa: E731
            again = again or not self.pictured.may_cache(Tokens(ids_BL, mask_BL), self._cached_step, read)
        if again:
            return self._read_again(ids_BL if cache is None else torch.cat([cache.ids, ids_BL], 1), mask_BL)
        return self._cached_step(ids_BL, mask_BL, cache)

    def _cached_step(self, ids_BL: Tensor, mask_BL: Tensor, cache: Any) -> tuple[Tensor, Any]:
        target, given = self._target, {"use_cache": True, cache_argument(self._target) or "cache": cache}
        if self._pictured(ids_BL):
            assert self.pictured is not None
            given |= self.pictured.inputs(Tokens(ids_BL, mask_BL)) or {}
            ids_BL = given.pop("ids_BL")
        states_BnD, out = self._states(target, ids_BL, mask_BL, **given)
        return self._sampleable(states_BnD[:, -1]), returned_cache(out)

    def _read_again(self, read_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Any]:
        return self._sampleable(self(read_BL, mask_BL)[:, -1]), Read(read_BL)

    def _sampleable(self, states_BD: Tensor) -> Tensor:
        logits_BV = dense(self.scores(states_BD))
        return logits_BV if self.pictured is None else self.pictured.never_written(logits_BV)

    def logits(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """[B, L, V], formed whole; for trials and for models that decode without a cache."""
        return dense(self.scores(self(ids_BL, mask_BL)))

    def _hidden(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        return self._together(ids_BL, mask_BL) if self.runs.padded else self._by_length(ids_BL, mask_BL)

    def packed(self, rows: Tokens) -> Tensor:
        """States [B, L, D] of rows whose tokens stand at the left, run in packed sequences: for models that ``pack`` allows."""
        target = self._target
        flat = "flash" in str(getattr(self.config, "_attn_implementation", ""))

        def call(ids_SL: Tensor, places_SL: Tensor) -> Tensor:
            return target(input_ids=ids_SL, position_ids=places_SL, use_cache=False).last_hidden_state

        return packed_states(rows, call, reach=attention_reach(self.backbone), flat=flat)

    @property
    def _target(self) -> Any:
        return self.base if self.runs.whole else self.backbone

    def _pictured(self, ids_BL: Tensor) -> bool:
        return self.pictured is not None and bool((ids_BL < 0).any())

    def _together(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        if self._pictured(ids_BL):
            assert self.pictured is not None
            return self.pictured.states(ids_BL, mask_BL)
        return self._states(self._target, ids_BL, mask_BL, use_cache=False)[0]

    def _by_length(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """The same for models that no mask hides padding from: rows of one length go together, without it."""
        lengths_B, states_BLD = mask_BL.sum(1), None
        for length in lengths_B.unique().tolist():
            if not length:
                continue
            rows = (lengths_B == length).nonzero().squeeze(1)
            real = mask_BL[rows].bool()
            ids = ids_BL[rows][real].view(len(rows), length)
            states = self._together(ids, torch.ones_like(ids))
            if states_BLD is None:
                states_BLD = states.new_zeros(*ids_BL.shape, states.shape[-1])
            row, column = real.nonzero(as_tuple=True)
            states_BLD = states_BLD.index_put((rows[row], column), states.flatten(0, 1))
        if states_BLD is None:
            raise CounterpointError(f"{len(ids_BL)} rows without a token; give each row at least one")
        return states_BLD

    def _states(
        self, target: Any, ids_BL: Tensor, mask_BL: Tensor, *, counted: bool = True, **given: Any
    ) -> tuple[Tensor, Any]:
        """What the head reads, [B, L, D], and all that the model gives back.

        Args:
            counted: whether positions are handed over; beside pictures the model counts them itself.
        """
        takes = inspect.signature(target.forward).parameters
        given = {"input_ids": ids_BL, "attention_mask": mask_BL, **given}
        if counted and self.runs.positions and "position_ids" in takes:
            given["position_ids"] = tokens.positions(mask_BL)[:, -ids_BL.shape[1] :]
        if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in takes.values()):
            given = {name: value for name, value in given.items() if name in takes}
        if not self.runs.whole:
            out = target(**given)
            return out.last_hidden_state, out
        read: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, given: read.append(given[0]))
        try:
            out = target(**given)
        finally:
            hook.remove()
        if len(read) != 1:
            raise CounterpointError(f"{type(self.base).__name__} reads its output layer {len(read)} times")
        return read[0], out

    @property
    def head(self) -> Any:
        """The output layer, [V, D] weight and an optional bias."""
        layer = self.base.get_output_embeddings()
        if layer is None or not hasattr(layer, "weight"):
            raise CounterpointError(
                f"{type(self.base).__name__} has no plain linear output layer; give a causal language model"
            )
        return layer

    def scores(self, hidden: Tensor) -> Head:
        """Hidden states [..., D] with this model's head: what every vocabulary loss takes; no logits are formed."""
        bias = getattr(self.head, "bias", None)
        if sharding.is_shard(self.head.weight):
            raise CounterpointError(
                "the head's weights are in shards: score the states of a forward before the next step, or run inside "
                "counterpoint.models.sharding.whole(model)"
            )
        return Head(hidden, self.head.weight, bias, self.runs.scale, self.runs.softcap)
