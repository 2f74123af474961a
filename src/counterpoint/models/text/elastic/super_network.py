"""A BERT of which smaller ones are parts: its first rows and columns, a share of its layers (AutoDistil, arXiv 2201.12507, 3.2).

B texts, L tokens, D width of the whole, d of a part, h heads of size D / N, r ratio of the feed-forward part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, layer_norm, linear, scaled_dot_product_attention

from counterpoint.errors import CounterpointError
from counterpoint.models.text.elastic.architecture import Architecture, Sizes
from counterpoint.models.text.transformer import TransformerText


class Last(NamedTuple):
    """Of the last layer: its states [B, L, d], and its queries, keys and values, each [B, L, h D / N]."""

    states: Tensor
    query: Tensor
    key: Tensor
    value: Tensor


def sizes_of(encoder: nn.Module) -> Sizes:
    """Sizes of a BERT encoder.

    Raises:
        CounterpointError: an encoder of another make, of which parts cannot be cut.
    """
    net: Any = getattr(encoder, "net", None)
    if not isinstance(encoder, TransformerText) or type(net).__name__ != "BertModel":
        raise CounterpointError(
            f"{type(net if net is not None else encoder).__name__} is no BERT, of whose weights parts can be cut; give BERT or MiniLM, such as "
            "--model minilm-l6"
        )
    c = net.config
    if c.hidden_act != "gelu" or getattr(c, "position_embedding_type", "absolute") != "absolute":
        raise CounterpointError(
            f"hidden_act={c.hidden_act}; parts are cut of a BERT with gelu and absolute positions"
        )
    return Sizes(
        c.num_hidden_layers,
        c.hidden_size,
        c.num_attention_heads,
        c.vocab_size,
        c.max_position_embeddings,
        c.type_vocab_size,
    )


def whole(sizes: Sizes, net: Any) -> Architecture:
    """The super-network as its own largest part."""
    from fractions import Fraction

    return Architecture(
        sizes.layers, sizes.width, Fraction(net.config.intermediate_size, sizes.width), sizes.heads
    )


def part_of(encoder: TransformerText, ids: Tensor, mask: Tensor, part: Architecture | None = None) -> Last:
    """Run a part of a BERT encoder on its own weights; None runs the whole.

    Args:
        ids, mask: [B, L].
    """
    net: Any = encoder.net
    sizes = sizes_of(encoder)
    part = part or whole(sizes, net)
    d, a, inner, config = part.width, part.heads * sizes.head, part.inner, net.config

    def norm(x: Tensor, module: Any) -> Tensor:
        return layer_norm(x, (d,), module.weight[:d], module.bias[:d], config.layer_norm_eps)

    tables = net.embeddings
    x = embedding(ids, tables.word_embeddings.weight[:, :d])
    x = x + tables.position_embeddings.weight[: ids.shape[1], :d] + tables.token_type_embeddings.weight[0, :d]
    x = tables.dropout(norm(x, tables.LayerNorm))
    seen = mask.bool()[:, None, None]
    q = k = v = x
    for number in part.layer_indices(sizes):
        layer = net.encoder.layer[number]
        own, out = layer.attention.self, layer.attention.output
        q, k, v = (linear(x, m.weight[:a, :d], m.bias[:a]) for m in (own.query, own.key, own.value))
        rate = own.dropout.p if own.training else 0.0
        q_BhL, k_BhL, v_BhL = (
            each.unflatten(2, (part.heads, sizes.head)).transpose(1, 2) for each in (q, k, v)
        )
        mixed = scaled_dot_product_attention(q_BhL, k_BhL, v_BhL, attn_mask=seen, dropout_p=rate)
        mixed = mixed.transpose(1, 2).flatten(2)
        y = out.dropout(linear(mixed, out.dense.weight[:d, :a], out.dense.bias[:d]))
        x = norm(x + y, out.LayerNorm)
        up, down = layer.intermediate.dense, layer.output.dense
        y = linear(
            gelu(linear(x, up.weight[:inner, :d], up.bias[:inner])), down.weight[:d, :inner], down.bias[:d]
        )
        x = norm(x + layer.output.dropout(y), layer.output.LayerNorm)
    return Last(x, q, k, v)


@torch.no_grad()
def cut(encoder: TransformerText, part: Architecture) -> TransformerText:
    """A part as an encoder of its own, with the same outputs: a ``BertModel`` where its heads fill its width, else ``NarrowBertModel``."""
    from transformers import BertConfig, BertModel

    from counterpoint.models.text.elastic.narrow_bert import NarrowBertConfig, NarrowBertModel

    net: Any = encoder.net
    sizes, source = sizes_of(encoder), net.config
    common = {
        "vocab_size": sizes.vocabulary,
        "hidden_size": part.width,
        "num_hidden_layers": part.layers,
        "num_attention_heads": part.heads,
        "intermediate_size": part.inner,
        "max_position_embeddings": sizes.positions,
        "type_vocab_size": sizes.types,
        "layer_norm_eps": source.layer_norm_eps,
        "hidden_dropout_prob": source.hidden_dropout_prob,
        "attention_probs_dropout_prob": source.attention_probs_dropout_prob,
        "pad_token_id": source.pad_token_id,
    }
    d, a, inner = part.width, part.heads * sizes.head, part.inner
    plain = a == d
    new: Any = (
        BertModel(BertConfig(**common), add_pooling_layer=False)
        if plain
        else NarrowBertModel(NarrowBertConfig(head_dim=sizes.head, **common))
    ).to(next(net.parameters()).dtype)
    if not plain:
        NarrowBertConfig.register_for_auto_class()
        NarrowBertModel.register_for_auto_class("AutoModel")
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        getattr(new.embeddings, name).weight.copy_(getattr(net.embeddings, name).weight[:, :d])
    _copy(new.embeddings.LayerNorm, net.embeddings.LayerNorm, d)
    targets = new.encoder.layer if plain else new.layers
    for target, number in zip(targets, part.layer_indices(sizes), strict=True):
        layer = net.encoder.layer[number]
        own, out = layer.attention.self, layer.attention.output
        if plain:
            there, back = target.attention.self, target.attention.output
            pairs = [
                (there.query, own.query, a, d), (there.key, own.key, a, d), (there.value, own.value, a, d), (back.dense, out.dense, d, a),
                (back.LayerNorm, out.LayerNorm, d, None), (target.intermediate.dense, layer.intermediate.dense, inner, d),
                (target.output.dense, layer.output.dense, d, inner), (target.output.LayerNorm, layer.output.LayerNorm, d, None),
            ]  # fmt: skip
        else:
            pairs = [
                (target.query, own.query, a, d), (target.key, own.key, a, d), (target.value, own.value, a, d),
                (target.attended, out.dense, d, a), (target.attention_norm, out.LayerNorm, d, None),
                (target.up, layer.intermediate.dense, inner, d), (target.down, layer.output.dense, d, inner),
                (target.norm, layer.output.LayerNorm, d, None),
            ]  # fmt: skip
        for to, source_part, rows, columns in pairs:
            _copy(to, source_part, rows, columns)
    return TransformerText(new, encoder.tokenizer, encoder.limit).train(encoder.training)


def _copy(to: Any, source: Any, rows: int, columns: int | None = None) -> None:
    """The first rows, and columns where there are any, of a layer's weights."""
    to.weight.copy_(source.weight[:rows] if columns is None else source.weight[:rows, :columns])
    to.bias.copy_(source.bias[:rows])
