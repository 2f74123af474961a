"""Completions that share a prompt: the prompt goes through the model once, its key/value cache serves the whole group.

The cache stays in the graph, so the prompt's parameters get the sum of the group's gradients, exactly as if each
completion had carried its own copy. Works for any transformers causal model whose cache holds keys and values.
Axes: P prompts, L prompt positions, B = P * G completions, T completion positions, D width.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError, MissingExtra


def shared_prompt_states(
    backbone: nn.Module,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
) -> Tensor:
    """Return the states that predict each completion token, [B, T, D], differentiable in the backbone's parameters.

    Dropout, where the model has any, falls on a prompt once for its whole group.

    Args:
        backbone: the causal model without its head (``model.base_model``); returns ``last_hidden_state`` and a cache.
        prompt_ids: [P, L], left-padded.
        prompt_mask: [P, L], 0 on padding.
        completion_ids: [B, T], right-padded; rows ``p * G`` to ``p * G + G - 1`` belong to prompt p.
        completion_mask: [B, T], 0 on padding.

    Raises:
        CounterpointError: when the shapes do not fit, a prompt ends in padding, or the model gives back no cache of
            keys and values (gradient checkpointing switches it off).
    """
    _check(prompt_ids, prompt_mask, completion_ids, completion_mask)
    group, (num_rows, length) = len(completion_ids) // len(prompt_ids), completion_ids.shape
    first = _call(backbone, prompt_ids, prompt_mask, _positions(prompt_mask), _new_cache(backbone))
    last_PD = first.last_hidden_state[:, -1]
    start_B1D = last_PD.unsqueeze(1).expand(-1, group, -1).reshape(num_rows, 1, -1)
    if length == 1:
        return start_B1D
    cache = _share(first.past_key_values, group, backbone)
    mask = torch.cat(
        [prompt_mask.repeat_interleave(group, 0), completion_mask[:, :-1].to(prompt_mask.dtype)], 1
    )
    places = _positions(mask)[:, prompt_ids.shape[1] :]
    rest = _call(backbone, completion_ids[:, :-1], mask, places, cache).last_hidden_state
    return torch.cat([start_B1D, rest], 1)


def _call(backbone: nn.Module, ids: Tensor, mask: Tensor, places: Tensor, cache: Any) -> Any:
    given: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": mask,
        "past_key_values": cache,
        "use_cache": True,
    }
    if "position_ids" in inspect.signature(backbone.forward).parameters:
        given["position_ids"] = places
    return backbone(**given)


def _positions(mask: Tensor) -> Tensor:
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def _new_cache(backbone: Any) -> Any:
    try:
        from transformers import DynamicCache
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    return DynamicCache(config=backbone.config)


def _share(cache: Any, group: int, backbone: Any) -> Any:
    """Let every layer of a cache over P prompts serve P * G rows."""
    from transformers.cache_utils import DynamicLayer

    if cache is None or not all(isinstance(getattr(layer, "keys", None), Tensor) for layer in cache.layers):
        raise CounterpointError(
            f"{type(backbone).__name__} gave back no cache of keys and values for the prompt (gradient checkpointing and "
            "recurrent layers do that); switch checkpointing off with model.gradient_checkpointing_disable(), or forward "
            "prompt and completion joined"
        )
    if group == 1:
        return cache

    class Shared(DynamicLayer):
        """Keys and values of P prompts as a view over P * G rows, copied once where the completion's are appended."""

        def update(
            self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            keys, values = _append(self.keys, key_states), _append(self.values, value_states)
            self.keys, self.values = keys, values
            return keys, values

    layers: list[Any] = cache.layers
    for i, layer in enumerate(layers):
        if type(layer) is DynamicLayer:
            shared: Any = Shared()
            shared.lazy_initialization(layer.keys, layer.values)
            shared.keys, shared.values = layer.keys, layer.values
            layers[i] = shared
        else:
            layer.batch_repeat_interleave(group)
    return cache


def _append(prompt: Any, new: Tensor) -> Tensor:
    """Join [P, heads, L, width] and [P * G, heads, T, width] to [P * G, heads, L + T, width] in one copy."""
    group = len(new) // len(prompt)
    wide = prompt.unsqueeze(1).expand(-1, group, -1, -1, -1)
    return torch.cat([wide, new.view(len(prompt), group, *new.shape[1:])], 3).flatten(0, 1)


def _check(prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor) -> None:
    if prompt_ids.shape != prompt_mask.shape or completion_ids.shape != completion_mask.shape:
        raise CounterpointError(
            f"ids {tuple(prompt_ids.shape)}, {tuple(completion_ids.shape)} and masks {tuple(prompt_mask.shape)}, "
            f"{tuple(completion_mask.shape)} were given; expected each mask in the shape of its ids"
        )
    if not len(prompt_ids) or len(completion_ids) % len(prompt_ids) or not completion_ids.shape[1]:
        raise CounterpointError(
            f"{len(completion_ids)} completions of {completion_ids.shape[1]} tokens were given for {len(prompt_ids)} prompts; "
            "expected the same number (at least one) for every prompt, ordered by prompt"
        )
    if not bool(prompt_mask[:, -1].all()):
        raise CounterpointError(
            "a prompt ends in padding; expected left-padded prompts, so that the last position predicts the completion"
        )
