"""BERT whose heads need not fill its width: h heads of any size beside states of width d. Depends on torch and transformers alone.

``save_pretrained`` puts this file into the folder, so that ``AutoModel.from_pretrained(folder, trust_remote_code=True)`` opens it
anywhere. With h times the head's size equal to d it computes what ``BertModel`` does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class NarrowBertConfig(PretrainedConfig):
    """As BERT's, and ``head_dim``."""

    model_type = "narrow-bert"

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 128,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 2,
        head_dim: int = 64,
        intermediate_size: int = 512,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        layer_norm_eps: float = 1e-12,
        hidden_dropout_prob: float = 0.1,
        attention_probs_dropout_prob: float = 0.1,
        pad_token_id: int = 0,
        **rest: Any,
    ) -> None:
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.num_hidden_layers, self.num_attention_heads = num_hidden_layers, num_attention_heads
        self.head_dim, self.intermediate_size = head_dim, intermediate_size
        self.max_position_embeddings, self.type_vocab_size = max_position_embeddings, type_vocab_size
        self.layer_norm_eps = layer_norm_eps
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        super().__init__(**rest)
        self.pad_token_id = pad_token_id


class NarrowEmbeddings(nn.Module):
    """Words, positions and types summed, normalised."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """[B, L] -> [B, L, d]."""
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        positions = self.position_embeddings.weight[: words.shape[1]]
        types = (
            self.token_type_embeddings.weight[0]
            if token_type_ids is None
            else self.token_type_embeddings(token_type_ids)
        )
        return self.dropout(self.LayerNorm(words + positions + types))


class NarrowLayer(nn.Module):
    """Attention and feed-forward part, each added to its input and normalised."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        d, inner = config.hidden_size, config.num_attention_heads * config.head_dim
        self.heads, self.attention_dropout = config.num_attention_heads, config.attention_probs_dropout_prob
        self.query, self.key, self.value = (nn.Linear(d, inner) for _ in range(3))
        self.attended = nn.Linear(inner, d)
        self.attention_norm = nn.LayerNorm(d, eps=config.layer_norm_eps)
        self.up, self.down = nn.Linear(d, config.intermediate_size), nn.Linear(config.intermediate_size, d)
        self.norm = nn.LayerNorm(d, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """[B, L, d] -> [B, L, d]; ``seen`` [B, 1, 1, L] bool."""
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        rate = self.attention_dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=rate)
        x = self.attention_norm(x + self.dropout(self.attended(mixed.transpose(1, 2).flatten(2))))
        return self.norm(x + self.dropout(self.down(gelu(self.up(x)))))


class NarrowBertModel(PreTrainedModel):
    """The encoder, without a pooler."""

    config_class = NarrowBertConfig
    base_model_prefix = "narrow_bert"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embeddings = NarrowEmbeddings(config)
        self.layers = nn.ModuleList(NarrowLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of words."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: Any) -> None:
        """Replace the table of words."""
        self.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool = False,
        **rest: Any,
    ) -> BaseModelOutput:
        """Last states [B, L, d], and those of all layers where asked for."""
        x = self.embeddings(input_ids, token_type_ids, inputs_embeds)
        seen = None if attention_mask is None else attention_mask.to(torch.bool)[:, None, None]
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1], seen))
        return BaseModelOutput(
            last_hidden_state=states[-1], hidden_states=tuple(states) if output_hidden_states else None
        )
