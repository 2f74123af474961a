"""A text encoder beside a small generator, for replaced-token detection (ELECTRA 2003.10555; sharing as in 2111.09543).

The generator fills gaps, the encoder finds what was filled wrongly. They share the table of words without pulling at it
from two sides: the encoder reads sg(generator's table) + its own residual, which starts at 0. ``merge`` adds both up.
B texts, L tokens, E width of the table, S of the states, V vocabulary.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Head
from counterpoint.models.text.transformer import TransformerText

Part = Literal["fill", "find", "sentence"]


class Detector(nn.Module):
    """The encoder (given, and trained in place), a generator of half its depth, and both heads.

    Args:
        encoder: over a transformers network. Its table becomes the residual: use it through this until ``merge``.
        seed: of the generator's and the heads' weights.

    Raises:
        CounterpointError: an encoder whose states do not see their neighbours, or without a mask token.
    """

    special: Tensor

    def __init__(self, encoder: nn.Module, seed: int) -> None:
        super().__init__()
        if not isinstance(encoder, TransformerText):
            raise CounterpointError(
                f"replaced tokens cannot be distinguished from their neighbours by {type(encoder).__name__}; give a transformers encoder "
                "(model deberta, bert-tiny or a folder), or set pretraining.replaced_tokens=false and pretraining.sentence_contrast=false"
            )
        if encoder.mask_id == encoder.pad_id or encoder.width != encoder.state_width:
            raise CounterpointError(
                f"{type(encoder.net).__name__} has no mask token, or words of another width ({encoder.width}) than its states "
                f"({encoder.state_width}); pretrain another encoder, or set pretraining.replaced_tokens=false and pretraining.sentence_contrast=false"
            )
        self.encoder = encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = _shallower(encoder)
            width = encoder.width
            self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
            self.finder = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
        self.bias = nn.Parameter(torch.zeros(encoder.vocabulary_size))
        self.register_buffer("special", torch.tensor(sorted(set(encoder.tokenizer.all_special_ids))))
        with torch.no_grad():
            _table(self.generator).copy_(_table(encoder))
            _table(encoder).zero_()

    def forward(self, ids: Tensor, mask: Tensor, part: Part) -> Tensor:
        """[B, L] ids and mask -> by part: "fill" states [B, L, E] for ``scores``, "find" logits [B, L], "sentence" vectors [B, S]."""
        if part == "fill":
            return self.transform(self.generator(ids, mask, out="tokens"))
        embedded = self.encoder.embed(ids) + self.generator.vectors(ids).detach()
        states = self.encoder(ids, mask, embedded=embedded, out="tokens")
        return self.finder(states).squeeze(-1) if part == "find" else self.encoder.pool(states, mask)

    def scores(self, states: Tensor) -> Head:
        """Scores [B, L] over V of the generator's states, by the table it reads with."""
        return Head(states, _table(self.generator), self.bias)

    def candidates(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] bool: tokens that may be hidden, neither padding nor special."""
        return mask.bool() & ~torch.isin(ids, self.special)

    @torch.no_grad()
    def merge(self) -> None:
        """Give the encoder its whole table: the generator's plus the residual."""
        _table(self.encoder).add_(_table(self.generator))


def _table(encoder: TransformerText) -> Tensor:
    return encoder.net.get_input_embeddings().weight


def _shallower(encoder: TransformerText) -> TransformerText:
    """A fresh encoder of the same kind and width with half the layers, at least one."""
    config: Any = copy.deepcopy(encoder.net.config)
    config.num_hidden_layers = max(1, config.num_hidden_layers // 2)
    net = type(encoder.net)(config)
    if getattr(net, "pooler", None) is not None:
        net.pooler = None
    return TransformerText(net, encoder.tokenizer, encoder.limit)
