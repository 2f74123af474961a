"""What a language model of transformers keeps of a batch, by its configuration alone: it is run without storage.

Training: what autograd saves from the forward for the backward, weights aside. Without gradient: keys and values.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from counterpoint.models import model_folders

LENGTHS = 64, 128
"""Of the two sequences that are run: what grows with the length and what with its square are told apart by them."""


@dataclass(frozen=True)
class Activations:
    """Bytes, of all blocks together.

    Attributes:
        token: of a token, for the backward. square: of a pair of positions of one sequence, for the backward: attention's mask, and
            where attention is not fused its scores. cached: of a token's keys and values.
    """

    token: float
    square: float
    cached: float


def activations_of(folder: str | Path, dtype: torch.dtype = torch.float32) -> Activations | None:
    """Run a model folder's configuration, or a bundled model's, without storage; None of a model that cannot be run so.

    Which operations there are, and what they save, is the CPU's.

    Args:
        dtype: of the weights.
    """
    from transformers import AutoConfig

    return of_config(AutoConfig.from_pretrained(model_folders.find(folder)), dtype)


def of_config(config: Any, dtype: torch.dtype = torch.float32) -> Activations | None:
    """As ``activations_of``, of a configuration.

    >>> from counterpoint.models.language.characters import tiny
    >>> config = tiny(seed=0).config
    >>> of_config(config).cached == 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    True
    """
    measured = _measured(config, dtype)
    if (
        measured is None and dtype.itemsize > 2
    ):  # products by groups of experts are known without storage in 16 bits only
        measured = _measured(config, torch.bfloat16)
        factor = dtype.itemsize / 2
        return measured and Activations(
            measured.token * factor, measured.square * factor, measured.cached * factor
        )
    return measured


def _measured(config: Any, dtype: torch.dtype) -> Activations | None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoModelForCausalLM

    fakes = logging.getLogger("torch._subclasses.fake_tensor")
    former = fakes.level
    fakes.setLevel(logging.CRITICAL)  # it writes a page on an operation that it cannot do
    try:
        with FakeTensorMode():
            model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
            short, long = (_saved(model, length) for length in LENGTHS)
            cached = _cached(model, LENGTHS[0])
    except Exception:  # whatever operation, of whatever model, needs what its inputs hold
        return None
    finally:
        fakes.setLevel(former)
    (one, two), gap = LENGTHS, LENGTHS[1] - LENGTHS[0]
    square = max((long / two - short / one) / gap, 0.0)
    return Activations(token=short / one - square * one, square=square, cached=cached / one)


def _saved(model: Any, length: int) -> int:
    """Bytes that a sequence's forward saves for its backward, each storage once."""
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    seen: dict[int, int] = {}
    held: list[Tensor] = []  # a storage that is freed could be another's next

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage.nbytes()
            held.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        _run(model, length)
    return sum(seen.values())


def _cached(model: Any, length: int) -> int:
    """Bytes of the keys and values of a sequence."""
    with torch.no_grad():
        cache = _run(model, length, use_cache=True).past_key_values
    return sum(each.nbytes for layer in cache.layers for each in (layer.keys, layer.values))


def _run(model: Any, length: int, use_cache: bool = False) -> Any:
    ids = torch.zeros(1, length, dtype=torch.long)
    mask = torch.ones(1, 1, length, length, dtype=torch.bool)  # as transformers makes it of a padded batch's
    return model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=use_cache)
