"""Completions that share a prompt: the prompt goes through the model once, its key/value cache serves the whole group.

The cache stays in the graph, so the prompt's parameters get the sum of the group's gradients, exactly as if each
completion had carried its own copy. Works for any transformers causal model whose cache holds keys and values;
``prefix_choice`` says which those are and when it pays.
Axes: P prompts, L prompt positions, B completions (P * G where groups are even), T completion positions, D width.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.kernels.prefix.cache_names import cache_argument, returned_cache


def shared_prompt_states(
    backbone: nn.Module,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
    owner: Tensor | None = None,
) -> Tensor:
    """Return the states that predict each completion token, [B, T, D], differentiable in the backbone's parameters.

    Dropout, where the model has any, falls on a prompt once for its whole group.

    Args:
        backbone: the causal model without its head (``model.base_model``); returns ``last_hidden_state`` and a cache.
        prompt_ids: [P, L], left-padded.
        prompt_mask: [P, L], 0 on padding.
        completion_ids: [B, T], right-padded.
        completion_mask: [B, T], 0 on padding.
        owner: [B], the number of each completion's prompt; None: rows ``p * G`` to ``p * G + G - 1`` belong to prompt p.

    Raises:
        CounterpointError: when the shapes do not fit, a prompt ends in padding, or the model gives back no cache of
            keys and values (gradient checkpointing switches it off).
    """
    _check(prompt_ids, prompt_mask, completion_ids, completion_mask, owner)
    length = completion_ids.shape[1]
    spread = _Spread(len(prompt_ids), len(completion_ids), owner)
    first = _call(backbone, prompt_ids, prompt_mask, _positions(prompt_mask), _new_cache(backbone))
    start_B1D = spread(first.last_hidden_state[:, -1:])
    if length == 1:
        return start_B1D
    cache = _share(returned_cache(first), spread, backbone)
    mask = torch.cat([spread(prompt_mask), completion_mask[:, :-1].to(prompt_mask.dtype)], 1)
    places = _positions(mask)[:, prompt_ids.shape[1] :]
    rest = _call(backbone, completion_ids[:, :-1], mask, places, cache).last_hidden_state
    return torch.cat([start_B1D, rest], 1)


class _Spread:
    """Repeats a prompt's row for each of its completions: as a view where groups are even, else by index."""

    def __init__(self, prompts: int, rows: int, owner: Tensor | None) -> None:
        self.prompts, self.group, self.owner = prompts, rows // prompts, owner
        if owner is not None and rows % prompts == 0:
            even = torch.arange(prompts, device=owner.device).repeat_interleave(self.group)
            self.owner = None if torch.equal(owner, even) else owner

    def __call__(self, x: Tensor) -> Tensor:
        if self.owner is not None:
            return x.index_select(0, self.owner)
        wide = x.unsqueeze(1).expand(-1, self.group, *[-1] * (x.dim() - 1))
        return wide.flatten(0, 1)

    def append(self, prompt: Tensor, new: Tensor) -> Tensor:
        """Join [P, heads, L, width] and [B, heads, T, width] to [B, heads, L + T, width]; one copy where groups are even."""
        if self.owner is not None:
            return torch.cat([self(prompt), new], 2)
        wide = prompt.unsqueeze(1).expand(-1, self.group, -1, -1, -1)
        return torch.cat([wide, new.view(self.prompts, self.group, *new.shape[1:])], 3).flatten(0, 1)


def _call(backbone: nn.Module, ids: Tensor, mask: Tensor, places: Tensor, cache: Any) -> Any:
    given: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": mask,
        cache_argument(backbone) or "cache": cache,
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


def _share(cache: Any, spread: _Spread, backbone: Any) -> Any:
    """Let every layer of a cache over P prompts serve B rows."""
    from transformers.cache_utils import DynamicLayer

    if cache is None or not all(isinstance(getattr(layer, "keys", None), Tensor) for layer in cache.layers):
        raise CounterpointError(
            f"{type(backbone).__name__} gave back no cache of keys and values for the prompt (gradient checkpointing and "
            "recurrent layers do that); switch checkpointing off with model.gradient_checkpointing_disable(), or forward "
            "prompt and completion joined"
        )
    if spread.owner is None and spread.group == 1:
        return cache

    class Shared(DynamicLayer):
        """Keys and values of P prompts as a view over B rows, copied once where the completion's are appended."""

        def update(
            self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            prompt: Any = (self.keys, self.values)
            self.keys, self.values = (
                spread.append(prompt[0], key_states),
                spread.append(prompt[1], value_states),
            )
            return self.keys, self.values

    layers: list[Any] = cache.layers
    for i, layer in enumerate(layers):
        if type(layer) is DynamicLayer:
            shared: Any = Shared()
            shared.lazy_initialization(layer.keys, layer.values)
            shared.keys, shared.values = layer.keys, layer.values
            layers[i] = shared
        else:
            layer.keys, layer.values = spread(layer.keys), spread(layer.values)
    return cache


def _check(
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
    owner: Tensor | None,
) -> None:
    if prompt_ids.shape != prompt_mask.shape or completion_ids.shape != completion_mask.shape:
        raise CounterpointError(
            f"ids {tuple(prompt_ids.shape)}, {tuple(completion_ids.shape)} and masks {tuple(prompt_mask.shape)}, "
            f"{tuple(completion_mask.shape)} were given; expected each mask in the shape of its ids"
        )
    if owner is not None and owner.shape != completion_ids.shape[:1]:
        raise CounterpointError(
            f"owner of shape {tuple(owner.shape)} was given for {len(completion_ids)} completions; expected the number of "
            "each completion's prompt"
        )
    uneven = owner is None and len(prompt_ids) and len(completion_ids) % len(prompt_ids)
    if not len(prompt_ids) or not len(completion_ids) or uneven or not completion_ids.shape[1]:
        raise CounterpointError(
            f"{len(completion_ids)} completions of {completion_ids.shape[1]} tokens were given for {len(prompt_ids)} prompts; "
            "expected the same number (at least one) for every prompt, ordered by prompt, or the argument owner"
        )
    if not bool(prompt_mask[:, -1].all()):
        raise CounterpointError(
            "a prompt ends in padding; expected left-padded prompts, so that the last position predicts the completion"
        )
