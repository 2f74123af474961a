"""Encoders with disentangled attention (DeBERTa, arXiv 2006.03654, eq. 4): content and relative position, apart.

    A_ij = Qc_i . Kc_j + Qc_i . Kr_d(i,j) + Kc_j . Qr_d(i,j),    d(i,j) = i - j clipped to the reach,    softmax(A / sqrt(3 d))

The layers are those of transformers' DeBERTa-v2, whose attention the conformance vectors check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.models.text.transformer import LIMIT, TransformerText, word_tokenizer


def configuration(
    vocabulary: int,
    *,
    width: int = 128,
    layers: int = 2,
    heads: int = 2,
    reach: int = 64,
    longest: int = 512,
    dropout: float = 0.1,
    content_to_position: bool = True,
    position_to_content: bool = True,
    share_projections: bool = False,
    padding: int = 0,
) -> Any:
    """Sizes of an encoder as a transformers ``DebertaV2Config``.

    Args:
        vocabulary: number of token ids. width, layers, heads: of the encoder; the inner width is four times the width.
        reach: k; distances beyond it count as k. longest: tokens in the longest text.
        share_projections: positions use the content's projections.
        padding: id of the padding token.

    Raises:
        MissingExtra: transformers is not installed.
        CounterpointError: a width that the heads do not divide.
    """
    try:
        from transformers import DebertaV2Config
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    if width % heads:
        raise CounterpointError(f"width {width} over {heads} heads; expected a width that the heads divide")
    kinds = [name for name, on in (("c2p", content_to_position), ("p2c", position_to_content)) if on]
    return DebertaV2Config(  # type: ignore[call-arg]
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=longest,
        type_vocab_size=0,
        relative_attention=bool(kinds),
        max_relative_positions=reach,
        position_biased_input=False,
        pos_att_type=kinds,
        share_att_key=share_projections,
        pad_token_id=padding,
        legacy=False,
    )


def disentangled_encoder(config: Any, seed: int) -> nn.Module:
    """A fresh network of these sizes: ids [B, T] and mask [B, T] in, states [B, T, width] out."""
    from transformers import DebertaV2Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DebertaV2Model(config)


def fresh_disentangled(
    words: Sequence[str],
    *,
    layers: int = 2,
    width: int = 128,
    heads: int = 2,
    reach: int = 32,
    limit: int = LIMIT,
    dropout: float = 0.1,
    seed: int = 0,
) -> TransformerText:
    """A small text encoder with disentangled attention over whole words, its weights drawn from ``seed``.

    Args:
        words: the vocabulary, in lower case. layers, width, heads, reach, dropout: of the network. limit: longest text in tokens.
    """
    tokenizer = word_tokenizer(words, limit)
    config = configuration(
        len(tokenizer),
        layers=layers,
        width=width,
        heads=heads,
        reach=reach,
        longest=limit,
        dropout=dropout,
        padding=tokenizer.pad_token_id,
    )
    return TransformerText(disentangled_encoder(config, seed), tokenizer, limit)


def attention(config: Any) -> nn.Module:
    """One attention layer of these sizes, alone."""
    from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention

    return DisentangledSelfAttention(config)
