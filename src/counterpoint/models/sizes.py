"""How large a language model of transformers is, by its configuration alone: its weights are built without storage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.models import model_folders
from counterpoint.models.sharding import blocks_of


@dataclass(frozen=True)
class Sizes:
    """Weights of a causal language model, as numbers of elements.

    Attributes:
        total: all weights, tied ones once. root: those of no block: embedding, norm, head. block: of the largest block.
        blocks: how many blocks. width: of the states. vocabulary: rows of the head.
        linear: rows plus columns of all linear layers in blocks, which is what an adapter of rank 1 has.
    """

    total: int
    root: int
    block: int
    blocks: int
    width: int
    vocabulary: int
    linear: int


def sizes_of(folder: str | Path) -> Sizes:
    """Read a model folder's configuration, or a bundled model's, and count.

    Raises:
        CounterpointError: not a folder of a causal language model that transformers knows.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    path = model_folders.find(folder)
    try:
        config = AutoConfig.from_pretrained(path)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CounterpointError(f"{folder}: no causal language model of transformers ({reason})") from None
    return count(model)


def count(model: Any) -> Sizes:
    """Count a transformers model's weights.

    Raises:
        CounterpointError: a model that does not name its blocks.

    >>> from counterpoint.models.language.characters import tiny
    >>> sizes = count(tiny(seed=0).causal)
    >>> sizes.total == sizes.root + sizes.blocks * sizes.block, sizes.blocks, sizes.width
    (True, 2, 32)
    """
    blocks = blocks_of(model)
    each = [sum(p.numel() for p in block.parameters()) for block in blocks]
    total = sum(p.numel() for p in model.parameters())
    linear = [m for block in blocks for m in block.modules() if isinstance(m, nn.Linear)]
    head = model.get_output_embeddings()
    if head is None:
        raise CounterpointError(f"{type(model).__name__} has no output layer; give a causal language model")
    return Sizes(
        total=total,
        root=total - sum(each),
        block=max(each),
        blocks=len(blocks),
        width=head.weight.shape[1],
        vocabulary=head.weight.shape[0],
        linear=sum(m.in_features + m.out_features for m in linear),
    )
