"""Small word-level models that describe things as they were taught to: with facts left out, and some of them wrong.

"describer" is a Llama of one layer and width 48, "describer-teacher" one of two layers and width 80. Made in a minute or two on first
use, then kept in the cache; each is one for all seeds.
"""

from __future__ import annotations

import inspect
import random
from typing import Any

import torch

from counterpoint.data.language import described
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import Tokens
from counterpoint.tasks.stock.stored import stored
from counterpoint.tasks.stock.teaching import teach

SIZES = {"describer": (1, 48, 2), "describer-teacher": (2, 80, 4)}
"""Layers, width and heads by name."""


def load(name: str) -> Language:
    """Return the describer or the teacher, taught now or taken from the cache."""
    identity = f"{name}/{inspect.getsource(described)}{inspect.getsource(describer)}{inspect.getsource(tokenizer)}{inspect.getsource(teach)}"
    return stored("describers", name, identity, lambda: describer(*SIZES[name]))


def tokenizer() -> Any:
    """One token a word with the blank before it, one a mark: ``<pad>``, ``</s>``, ``<unk>``, then words.

    >>> names = tokenizer()
    >>> names.decode(names("describe kim red dog long: it is red").input_ids)
    'describe kim red dog long: it is red'
    """
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    words = described.words()
    every = ["<pad>", "</s>", "<unk>", ":", ",", *words, *(" " + word for word in words)]
    raw = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({token: at for at, token in enumerate(every)}, unk_token="<unk>")
    )
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r" ?\w+|[^\w]"), "isolated")
    raw.decoder = tokenizers.decoders.Fuse()
    raw.add_special_tokens(every[:3])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def describer(
    layers: int,
    width: int,
    heads: int,
    *,
    seed: int = 0,
    steps: int = 1400,
    batch_size: int = 64,
    learning_rate: float = 4e-3,
) -> Language:
    """Teach a fresh model.

    Args:
        layers, width, heads: of the model. seed: of its weights and its examples.
        steps, batch_size, learning_rate: of the training.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    names, draw = tokenizer(), random.Random(f"describer/{seed}")
    config = LlamaConfig(
        vocab_size=len(names), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=96, tie_word_embeddings=True,
        pad_token_id=names.pad_token_id, bos_token_id=None, eos_token_id=names.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Language(LlamaForCausalLM(config), names)

    def rows() -> tuple[Tokens, Tokens]:
        prompts = [described.prompt(draw) for _ in range(batch_size)]
        return model.rows(prompts, [described.answer(text, draw) for text in prompts])

    return teach(model, rows, steps=steps, learning_rate=learning_rate, warm_up=50, fall=0.95)
