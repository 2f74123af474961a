"""An encoder-decoder of transformers (T5, BART, ...) with the words of a language model: prompts are read, completions written.

The encoder reads the prompt, the decoder predicts the completion after it; samplers, log-probabilities and methods take it
as they take a causal model. B rows, P prompt positions, T completion positions, D width, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from counterpoint.conversation import Completion, Prompt, text_of
from counterpoint.errors import CounterpointError
from counterpoint.kernels.prefix.cache_names import cache_argument, returned_cache
from counterpoint.kernels.scores import dense
from counterpoint.models import model_folders, passes
from counterpoint.models.language import language
from counterpoint.models.language.language import Language
from counterpoint.models.language.own_forward import Pass
from counterpoint.models.tokens import Replies, Tokens, positions


@dataclass
class Decoded:
    """The encoder's states and the decoder's cache, row by row."""

    states: Tensor
    mask: Tensor
    cache: Any

    def batch_select_indices(self, rows: Tensor) -> None:
        """Keep some rows, as transformers' caches do."""
        self.states, self.mask = self.states[rows], self.mask[rows]
        self.cache.batch_select_indices(rows)


class EncoderDecoder(Language):
    """An encoder-decoder with its tokenizer.

    Args:
        model: a transformers encoder-decoder with a head over the vocabulary.
        tokenizer: its tokenizer.

    Raises:
        CounterpointError: no encoder-decoder, no start token for its decoder, or one whose own scores are not its head's.

    >>> from counterpoint.models.language.characters import tiny_encoder_decoder
    >>> model = tiny_encoder_decoder(seed=0)
    >>> prompts, completions = model.rows(["1+1=", "20+2="], ["2", "22"])
    >>> hidden = model(*[torch.cat([getattr(p, n) for p in (prompts, completions)], 1) for n in ("ids", "mask")], last=3)
    >>> hidden.shape
    torch.Size([2, 3, 32])
    """

    def __init__(self, model: Any, tokenizer: Any, *, max_length: int | None = None) -> None:
        super().__init__(model, tokenizer, runs=Pass(whole=True), max_length=max_length)
        name = type(self.base).__name__
        if not self.config.is_encoder_decoder or self.start is None:
            raise CounterpointError(
                f"{name} is no encoder-decoder that says what its decoder starts with; set decoder_start_token_id in its "
                "configuration, or load a causal model"
            )
        self._try(name)

    @property
    def start(self) -> int | None:
        """The token that the decoder begins with."""
        for settings in (self.config, getattr(self.base, "generation_config", None)):
            given = getattr(settings, "decoder_start_token_id", None)
            if given is not None:
                return int(given)
        return self.tokenizer.pad_token_id

    def forward(
        self, ids_BL: Tensor, mask_BL: Tensor, last: int | None = None, share: bool = False
    ) -> Tensor:
        """States that predict the last tokens: the encoder reads what stands before them.

        Args:
            ids_BL, mask_BL: prompts, then completions, [B, P + T].
            last: T, how many positions are the completion's.
            share: has no effect; every row is read by itself.

        Returns:
            [B, T, D]; position t predicts token P + t.

        Raises:
            CounterpointError: without ``last``, since an encoder-decoder has no states over prompt and completion alike.
        """
        if last is None or last >= ids_BL.shape[1]:
            raise CounterpointError(
                f"{type(self.base).__name__} is an encoder-decoder: say how many of the tokens are the completion's, last=T"
            )
        if not len(ids_BL):
            return self.head.weight.new_zeros(0, last, self.head.weight.shape[1])
        limit = passes.token_limit()
        if limit is not None and not torch.is_grad_enabled() and len(ids_BL) > 1:
            parts = passes.within(mask_BL.sum(1).tolist(), limit)
            if len(parts) > 1:
                return torch.cat([self(ids_BL[part], mask_BL[part], last) for part in parts])
        source = _to_the_left(ids_BL[:, :-last], mask_BL[:, :-last], self.pad_id)
        begun_BT = torch.cat([torch.full_like(ids_BL[:, :1], self.start), ids_BL[:, -last:-1]], 1)  # type: ignore[arg-type]
        return self._read(input_ids=source.ids, attention_mask=source.mask, decoder_input_ids=begun_BT)[0]

    def decode(self, ids_BL: Tensor, mask_BL: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """One decoding step; the first one reads the prompt. See ``Language.decode``."""
        new_B1 = ids_BL[:, -1:]
        if cache is None:
            source = _to_the_left(ids_BL, mask_BL, self.pad_id)
            states = self.base.get_encoder()(input_ids=source.ids, attention_mask=source.mask)[0]
            cache, new_B1 = Decoded(states, source.mask, None), torch.full_like(new_B1, self.start)  # type: ignore[arg-type]
        grown = {"use_cache": True, cache_argument(self.base) or "cache": cache.cache}
        hidden_B1D, out = self._read(
            encoder_outputs=(cache.states,), attention_mask=cache.mask, decoder_input_ids=new_B1, **grown
        )
        return dense(self.scores(hidden_B1D[:, -1])), Decoded(cache.states, cache.mask, returned_cache(out))

    def encoded(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """The encoder's states of whole rows, [B, L, D], where each token stands."""
        source = _to_the_left(ids_BL, mask_BL, self.pad_id)
        states = self.base.get_encoder()(input_ids=source.ids, attention_mask=source.mask)[0]
        at_BL = positions(mask_BL)
        return states.gather(1, at_BL[..., None].expand(-1, -1, states.shape[-1]))

    def rows(
        self, prompts: Sequence[Prompt], completions: Sequence[Completion], *, answers: int = 1
    ) -> tuple[Tokens, Replies]:
        """Tokenise prompts for the encoder and completions for the decoder, each by itself; see ``Language.rows``."""
        before = self.prompts(prompts)
        after = self.completions([text_of(each) for each in completions])
        if self.max_length is not None and after.width > self.max_length:
            after = Tokens(after.ids[:, : self.max_length], after.mask[:, : self.max_length])
        return before, Replies(after.ids, after.mask, after.mask.bool())

    def merged(self) -> Language:
        """The model itself; there are no adapters."""
        return self

    def with_lora(self, *_: Any, **__: Any) -> Language:
        """Refused: adapters are for causal models here."""
        raise CounterpointError("an encoder-decoder is trained in full here; set lora_rank=0")

    def _read(self, **given: Any) -> tuple[Tensor, Any]:
        """What the head reads, and all that the model gives back."""
        takes = inspect.signature(self.base.forward).parameters
        if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in takes.values()):
            given = {name: value for name, value in given.items() if name in takes}
        read: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        try:
            out = self.base(**given)
        finally:
            hook.remove()
        return read[0], out

    @torch.no_grad()
    def _try(self, name: str) -> None:
        """See that states and head give the model's own logits."""
        if self.device.type == "meta":
            return
        ids = torch.arange(8, device=self.device).view(2, 4) % self.head.weight.shape[0]
        training = self.training
        self.eval()
        hidden, out = self._read(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=ids)
        self.train(training)
        error = float((dense(self.scores(hidden)) - out.logits).abs().max())
        if not error <= 1e-3 * max(float(out.logits.abs().max()), 1e-6):
            raise CounterpointError(
                f"{name}: the scores of its own forward are not its output layer's (they differ by {error:.2g}), so no "
                "log-probability would be right; give another encoder-decoder"
            )


def load(spec: str | Path, **options: Any) -> Language:
    """Load an encoder-decoder's folder, or whatever else ``models.language.language.load`` loads, which takes the options.

    Raises:
        CounterpointError: as of ``language.load``; options that are for causal models.
    """
    if not model_folders.has_encoder(spec):
        return language.load(spec, **options)
    given = {name: value for name, value in options.items() if value and name not in ("seed", "dtype")}
    if given:
        raise CounterpointError(
            f"{spec} is an encoder-decoder, for which there is no {', '.join(given)}; leave it out"
        )
    return EncoderDecoder(*model_folders.read(spec, options.get("dtype")))


def _to_the_left(ids_BL: Tensor, mask_BL: Tensor, fill: int) -> Tokens:
    """Tokens moved to the front of their rows, padding behind them: where encoders expect them."""
    order_BL = (1 - mask_BL).argsort(stable=True, dim=1)
    moved_BL = mask_BL.gather(1, order_BL)
    return Tokens(ids_BL.gather(1, order_BL).masked_fill(moved_BL == 0, fill), moved_BL)
