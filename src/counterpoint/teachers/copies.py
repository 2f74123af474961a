"""A constant copy of any module, called like it: what the frozen, the averaged and the past teacher have in common.

A denoiser, an image encoder, a regression, a language model: the copy takes the same arguments and gives the same
outputs, without gradient and in evaluation mode. Frozen weights (the base under LoRA) are shared with the model, so a copy
holds, and a Run saves, only what the model trains and its buffers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models import sharding

M = TypeVar("M", bound=nn.Module)


def snapshot(model: M) -> M:
    """Copy a model as a constant: trainable weights and buffers are copied, frozen weights are shared; shards as shards."""
    if sharding.shards_of(model):
        return sharding.copied(model)
    shared = {id(each): each for each in model.parameters() if not each.requires_grad}
    return copy.deepcopy(model, shared).eval().requires_grad_(False)


class Copied(nn.Module, Generic[M]):
    """A constant copy of a module; its own state is what the module trains, and buffers.

    Args:
        model: the module; copied as it is now.

    Attributes:
        model: the copy, in evaluation mode whatever ``train`` is called with.

    >>> student = nn.Linear(2, 1)
    >>> teacher = Copied(student)
    >>> inputs = torch.ones(3, 2)
    >>> bool(torch.equal(teacher(inputs), student(inputs))), teacher(inputs).requires_grad
    (True, False)
    """

    model: M

    def __init__(self, model: M) -> None:
        super().__init__()
        self.model = snapshot(model)
        self._trained = tuple(name for name, each in model.named_parameters() if each.requires_grad)
        self.register_state_dict_post_hook(_without_shared)
        self.eval()

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the copied module gives for these arguments, as constants."""
        return self.model(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: a teacher drops nothing out and moves no running statistics."""
        return super().train(False)

    def pairs(self, student: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """(own tensor, student's tensor) for every weight that the student trains, and for its buffers.

        Raises:
            CounterpointError: the student has other weights than the module that was copied.
        """
        sharding.settle(self, student)
        mine, theirs = dict(self.model.named_parameters()), dict(student.named_parameters())
        buffers = dict(student.named_buffers())
        own = dict(self.model.named_buffers())
        missing = [name for name in self._trained if name not in theirs] + [
            n for n in own if n not in buffers
        ]
        if missing:
            raise CounterpointError(
                f"this teacher was copied from another model than the student it is given: the {type(student).__name__} has "
                f"no '{missing[0]}'; give the model it was made from, e.g. teacher = Past(model); teacher.refresh(model)"
            )
        return [(mine[name], theirs[name].detach()) for name in self._trained] + [
            (own[name], buffers[name]) for name in own
        ]

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Put the copied weights back; with ``strict`` every name of the own state must be there, and no other.

        Raises:
            CounterpointError: the saved names differ from the own ones.
        """
        odd = sorted(set(self.state_dict()) ^ set(state_dict))
        if strict and odd:
            raise CounterpointError(
                f"the saved teacher does not fit this model: '{odd[0]}' is in only one of them"
            )
        return super().load_state_dict(state_dict, strict=False, assign=assign)


def _without_shared(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Leave out what the copy shares with the model: saved with it, or constant."""
    assert isinstance(module, Copied)
    for name, _parameter in module.model.named_parameters(remove_duplicate=False):
        if name not in module._trained:
            state.pop(f"{prefix}model.{name}", None)


@torch.no_grad()
def on_rows(
    index: Tensor, forward: Callable[..., dict[str, Tensor]], *inputs: Tensor, **options: Any
) -> dict[str, Tensor]:
    """What a teacher gives for some rows of a batch; zeros, which nothing should read, stand for the others.

    Args:
        index: [n] rows that the teacher is given.
        forward: the teacher; gives named tensors, a row each per row of the inputs.
        inputs: [N, ...] each. options: handed on.

    Returns:
        The same names, [N, ...] each, without gradient.

    >>> on_rows(torch.tensor([1]), lambda x: {"twice": 2 * x}, torch.tensor([3.0, 4.0]))
    {'twice': tensor([0., 8.])}
    """
    size = len(inputs[0])
    if not len(index):  # one row for the shapes; nothing reads it
        index = torch.arange(min(1, size), device=index.device)
    parts = forward(*(rows[index] for rows in inputs), **options)
    return {
        name: value.new_zeros(size, *value.shape[1:]).index_copy(0, index, value)
        for name, value in parts.items()
    }
