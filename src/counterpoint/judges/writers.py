"""Who writes what a judge reads: a model at hand or one behind a server, by one setting; greedily, so that it can be repeated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.server import Server
from counterpoint.models.language.language import Language, Prompt

SERVED = re.compile(r"(?P<model>.+)@(?P<url>https?://.+)")


class Writer(Protocol):
    """A noun with one verb."""

    @property
    def costly(self) -> bool:
        """Whether what it writes should never be asked for twice."""

    def __call__(self, prompts: Sequence[Prompt]) -> list[str]:
        """One text to each prompt."""
        ...


@dataclass(frozen=True)
class ModelWriter:
    """A language model at hand.

    Attributes:
        model: it. longest: tokens that it may write. at_once: prompts that go through it at a time.
    """

    model: Language
    longest: int = 256
    at_once: int = 32
    costly: bool = False

    def __call__(self, prompts: Sequence[Prompt]) -> list[str]:
        """One text to each prompt."""
        how, texts = Sampler(max_new_tokens=self.longest, temperature=0.0), []
        for at in range(0, len(prompts), self.at_once):
            tokens = self.model.prompts(prompts[at : at + self.at_once])
            texts += self.model.texts(how(self.model, tokens))
        return texts


@dataclass(frozen=True)
class ServedWriter:
    """A model behind an OpenAI-compatible server."""

    server: Server
    costly: bool = True

    def __call__(self, prompts: Sequence[Prompt]) -> list[str]:
        """One text to each prompt."""
        return [reply.text for reply in self.server(prompts)]


def writer(spec: str, own: Language | None, longest: int = 256) -> Writer:
    """The writer that a setting names.

    Args:
        spec: "self" (the model in training as it is at that moment), "NAME@URL" (a server's model), a folder with a causal
            model, or a bundled model's name.
        own: the model in training; None where none is at hand. longest: tokens that it may write.

    Raises:
        CounterpointError: nothing named, or no such folder or model.
    """
    if spec == "self" and own is not None:
        return ModelWriter(own, longest)
    if not spec or spec == "self":
        raise CounterpointError(
            'a judging model must be named: "self", a model folder, or "NAME@http://localhost:8000/v1"'
        )
    served = SERVED.fullmatch(spec)
    if served is not None:
        return ServedWriter(Server(served["url"], served["model"], max_new_tokens=longest, temperature=0.0))
    from counterpoint.models.language.language import load

    model = load(spec).to("cpu" if own is None else own.device).eval().requires_grad_(False)
    return ModelWriter(model, longest)
