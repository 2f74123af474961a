"""A copy of a student that can speak: what the frozen, the averaged and the past teacher have in common.

Under LoRA the frozen base weights are shared with the student, and only the adapters are copied. B rows, T completion
positions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Head, Scores, Sparse
from counterpoint.models.language.language import Language, Prompt
from counterpoint.models.language.prompt_groups import answer_states
from counterpoint.models.tokens import Tokens

Asked = Tokens | Sequence[Any]
"""Left-padded prompts, or one thing per row that the teacher can turn into a prompt."""


class Teacher(Protocol):
    """A noun with one verb."""

    def answer(self, asked: Asked, completions: Tokens, index: Tensor | None = None) -> Scores | Sparse:
        """Say what the teacher thinks at every completion position.

        Args:
            asked: the prompts, tokenised or not; [B].
            completions: [B, T] right-padded.
            index: [B] rows of the data, for teachers that were written down beforehand.

        Returns:
            Scores at the positions [B, T]; position t is about completion token t. Without gradient.
        """
        ...


def snapshot(model: nn.Module) -> nn.Module:
    """Copy a model as a constant: trainable weights and buffers are copied, frozen weights are shared."""
    shared = {id(each): each for each in model.parameters() if not each.requires_grad}
    return copy.deepcopy(model, shared).eval().requires_grad_(False)


def speak(model: Language, asked: Asked, completions: Tokens, at_once: int | None = None) -> Head:
    """Run a model over prompts and completions without gradient or dropout: its head at the positions [B, T].

    >>> from counterpoint.models.language.characters import tiny
    >>> model = tiny()
    >>> speak(model.eval(), ["1+1="], model.completions(["2"])).shape
    torch.Size([1, 2])
    """
    prompts = asked if isinstance(asked, Tokens) else model.prompts(list[Prompt](asked))
    if len(prompts) != len(completions):
        raise CounterpointError(f"{len(prompts)} prompts were asked about {len(completions)} completions")
    with torch.no_grad():
        return model.scores(answer_states(model, prompts, completions, forward=_in_pieces(at_once))).detach()


def _in_pieces(size: int | None) -> Callable[..., Tensor]:
    def forward(model: Language, ids: Tensor, mask: Tensor, **given: Any) -> Tensor:
        step = size or max(len(ids), 1)
        rows = range(0, max(len(ids), 1), step)
        return torch.cat([model(ids[at : at + step], mask[at : at + step], **given) for at in rows])

    return forward


class Shadow:
    """A constant copy of a student, with a state of its own that a Run saves.

    Args:
        model: the student; copied as it is now.
        at_once: rows that go through the copy at a time; None takes all.
    """

    def __init__(self, model: Language, *, at_once: int | None = None) -> None:
        self.model: Any = snapshot(model)
        self.at_once = at_once
        self._names = [name for name, each in model.named_parameters() if each.requires_grad]

    def answer(self, asked: Asked, completions: Tokens, index: Tensor | None = None) -> Head:
        """Scores at the completions' positions [B, T], from the copied weights."""
        return speak(self.model, asked, completions, self.at_once)

    def pairs(self, student: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """(own tensor, student's tensor) for every weight that the student trains, and for its buffers."""
        mine, theirs = dict(self.model.named_parameters()), dict(student.named_parameters())
        if any(name not in theirs for name in self._names):
            raise CounterpointError("this teacher was copied from another model than the student it is given")
        found = [(mine[name], theirs[name].detach()) for name in self._names]
        buffers = dict(student.named_buffers())
        return found + [(own, buffers[name]) for name, own in self.model.named_buffers()]

    def state_dict(self) -> dict[str, Tensor]:
        """The copied weights: adapters only, when the base is frozen."""
        weights = dict(self.model.named_parameters())
        return {name: weights[name].detach() for name in self._names} | dict(self.model.named_buffers())

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put the copied weights back; every name must be there."""
        own = self.state_dict()
        if set(own) != set(state):
            odd = sorted(set(own) ^ set(state))[0]
            raise CounterpointError(
                f"the saved teacher does not fit this model: '{odd}' is in only one of them"
            )
        for name, value in own.items():
            value.copy_(state[name])
