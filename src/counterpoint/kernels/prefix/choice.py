"""When completions should share their prompt: what a model hinders, and what it would save.

Sharing never changes a result beyond rounding; where that could not be promised, ``obstacle`` says why. B completions,
P distinct prompts, L prompt positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.kernels.evaluating import evaluating
from counterpoint.kernels.prefix.cache_names import cache_argument
from counterpoint.kernels.prefix.states import shared_prompt_states

SECOND_CALL = {"cpu": (2e7, 1.5e7), "other": (5e10, 2e10)}
"""Multiplications a device could do while a second call is prepared, for the model and for each layer (CPU: measured)."""
COPY = {"cpu": 20.0, "other": 200.0}
"""Multiplications a device could do while one element is copied."""

_tried: WeakKeyDictionary[nn.Module, str | None] = WeakKeyDictionary()
_weights: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def worth_sharing(backbone: nn.Module, rows: int, prompts: int, width: int) -> bool:
    """Say whether the prompt tokens saved outweigh a second call and the copies of keys and values.

    Args:
        backbone: the causal model without its head.
        rows: B, completions.
        prompts: P, distinct prompts among them.
        width: L, positions of the prompts.
    """
    config: Any = getattr(backbone, "config", None)
    layers, heads = _layers(backbone), getattr(config, "num_attention_heads", None) or 1
    hidden = getattr(config, "hidden_size", None) or 0
    kv_width = hidden * (getattr(config, "num_key_value_heads", None) or heads) // heads
    where = "cpu" if next(backbone.parameters()).device.type == "cpu" else "other"
    saved = (rows - prompts) * width * _weights_per_token(backbone)
    copied = 2 * rows * width * kv_width * layers
    return saved > copied * COPY[where] + _call(backbone)


def call_in_positions(backbone: nn.Module) -> float:
    """What a second call of a model costs, in positions that could go through it meanwhile."""
    return _call(backbone) / max(_weights_per_token(backbone), 1)


def attention_reach(backbone: nn.Module) -> float:
    """The length of a sequence at which attention to all of it costs as much as a model's matrices do, in positions."""
    hidden = getattr(getattr(backbone, "config", None), "hidden_size", None) or 1
    return _weights_per_token(backbone) / (2.0 * _layers(backbone) * hidden)


def dropping(backbone: nn.Module) -> bool:
    """Whether dropout is active: a shared prompt would then get one draw for all its completions."""
    if not backbone.training:
        return False
    config: Any = getattr(backbone, "config", None)
    if getattr(config, "attention_dropout", 0.0):
        return True
    return any(
        isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 and m.training for m in backbone.modules()
    )


def obstacle(backbone: nn.Module) -> str | None:
    """Return why completions cannot share a prompt's keys and values in this model, or None when they can.

    A model is tried once, without gradient, on two completions of three tokens: shared and joined states must agree.
    """
    if backbone.training and _recomputes(backbone):
        return "gradient checkpointing keeps no cache"
    if backbone not in _tried:
        _tried[backbone] = _declared(backbone) or _trial(backbone)
    return _tried[backbone]


def _declared(backbone: Any) -> str | None:
    config = getattr(backbone, "config", None)
    if cache_argument(backbone) is None or config is None:
        return "it takes no cache of keys and values"
    if any(
        "dynamic" in kind or kind == "longrope"
        for kind in _rope_types(getattr(config, "rope_parameters", None))
    ):
        return "its rotary frequencies depend on the sequence's length"
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds or getattr(config, "attention_chunk_size", None):
        return f"it has layers other than full and sliding attention: {', '.join(sorted(kinds)) or 'chunked'}"
    return None


def _rope_types(settings: Any) -> Iterator[str]:
    if isinstance(settings, Mapping):
        yield str(settings.get("rope_type", ""))
        for inner in settings.values():
            yield from _rope_types(inner)


def _trial(backbone: Any) -> str | None:
    parameter = next(backbone.parameters())
    size = backbone.get_input_embeddings().weight.shape[0]
    prompt = torch.arange(3, device=parameter.device)[None] % size
    completion = (torch.arange(6, device=parameter.device).view(2, 3) + 1) % size
    ones = torch.ones_like(completion)
    joined = torch.cat([prompt.expand(2, -1), completion], 1)
    given: dict[str, Any] = {
        "input_ids": joined,
        "attention_mask": torch.ones_like(joined),
        "use_cache": False,
    }
    try:
        with torch.no_grad(), evaluating(backbone):
            expected = backbone(**given).last_hidden_state[:, 2:-1].float()
            shared = shared_prompt_states(backbone, prompt, ones[:1], completion, ones).float()
    except CounterpointError:
        return "it gives back no cache of keys and values"
    # Whatever a foreign model raises over a cache it was not made for: it then gets whole sequences, as before.
    except (
        AttributeError,
        IndexError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        return f"its cache failed ({type(error).__name__})"
    return None if _close(shared, expected, parameter.dtype) else "its states differ behind a cache"


def _close(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    bound = 1e-4 if dtype in (torch.float32, torch.float64) else 5e-2
    return bool((actual - expected).abs().max() <= bound * expected.abs().max())


def _recomputes(backbone: nn.Module) -> bool:
    """Whether activations are computed again in the backward pass, by the name that this transformers has for it."""
    for name in ("is_activation_checkpointing", "is_gradient_checkpointing"):
        if hasattr(type(backbone), name):
            return bool(getattr(backbone, name))
    return False


def _layers(backbone: nn.Module) -> int:
    return getattr(getattr(backbone, "config", None), "num_hidden_layers", None) or 12


def _call(backbone: nn.Module) -> float:
    once, each = SECOND_CALL["cpu" if next(backbone.parameters()).device.type == "cpu" else "other"]
    return once + _layers(backbone) * each


def _weights_per_token(backbone: nn.Module) -> int:
    """Entries of the matrices that every token is multiplied with: all but the tables that are looked up."""
    if backbone not in _weights:
        tables = {id(m.weight) for m in backbone.modules() if isinstance(m, nn.Embedding)}
        _weights[backbone] = sum(
            p.numel() for p in backbone.parameters() if p.dim() > 1 and id(p) not in tables
        )
    return _weights[backbone]
