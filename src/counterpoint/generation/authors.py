"""Authors: who writes free text in a method, by one setting, and what it took; a model at hand, a served one, or a function.

``author(prompts, seed) -> [Written]``. What a server gave is kept in the run's journal, so that nothing is paid for twice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

from counterpoint.conversation import last_text, turns
from counterpoint.errors import CounterpointError
from counterpoint.generation.journal import FILE
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.samplers import Own, Served
from counterpoint.generation.server import Server
from counterpoint.imported import imported
from counterpoint.models.language.language import Language, Prompt

SERVED = re.compile(r"(?P<model>.+)@(?P<url>https?://.+)")
FUNCTION = re.compile(r"(.+\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*")


class Written(TypedDict):
    """One text and what it took; plain data, so that a durable stage can keep it.

    ``ids`` are the sampled tokens where a model at hand wrote it, else empty.
    """

    text: str
    ids: list[int]
    ended: bool
    prompt_tokens: int
    completion_tokens: int
    cost: float


class Author(Protocol):
    """A noun with one verb."""

    def __call__(self, prompts: Sequence[Prompt], seed: int) -> list[Written]:
        """One text to each prompt; the seed and a prompt's position decide it."""
        ...

    def most(self, prompts: Sequence[Prompt]) -> int:
        """Tokens that answering may take at most, prompts included, as the model at hand counts them."""
        ...


@dataclass(frozen=True)
class ModelAuthor:
    """A model at hand.

    >>> from counterpoint.models.language.characters import tiny
    >>> author = ModelAuthor(Own(tiny(seed=0), Sampler(max_new_tokens=4)))
    >>> [each["prompt_tokens"] for each in author(["1+1=", "20+2="], seed=0)], author.most(["1+1="])
    ([6, 7], 10)
    """

    sampler: Own

    def __call__(self, prompts: Sequence[Prompt], seed: int) -> list[Written]:
        """One text to each prompt."""
        model, how = self.sampler.model, self.sampler.how
        draws = None if how.greedy else row_draws(seed, range(len(prompts)), how.max_new_tokens)
        drawn = self.sampler(prompts, 1, draws)
        rows = zip(
            model.texts(drawn), drawn.rows(), drawn.ended.tolist(), _lengths(model, prompts), strict=True
        )
        return [
            Written(text=t, ids=i, ended=e, prompt_tokens=n, completion_tokens=len(i), cost=0.0)
            for t, i, e, n in rows
        ]

    def most(self, prompts: Sequence[Prompt]) -> int:
        """Prompts and the longest completions."""
        lengths = _lengths(self.sampler.model, prompts)
        return sum(lengths) + len(lengths) * self.sampler.how.max_new_tokens


@dataclass(frozen=True)
class ServedAuthor:
    """A model behind an OpenAI-compatible server; ``model`` only counts the tokens of prompts beforehand."""

    server: Server
    model: Language

    def __call__(self, prompts: Sequence[Prompt], seed: int) -> list[Written]:
        """One text to each prompt, with the tokens that the server counted."""
        greedy = self.server.temperature == 0
        seeds = None if greedy else [(seed * 1_000_003 + at) % 2**31 for at in range(len(prompts))]
        prices = self.server.prices
        return [
            Written(
                text=reply.text,
                ids=[],
                ended=reply.ended,
                prompt_tokens=reply.usage[0],
                completion_tokens=reply.usage[1],
                cost=sum(price * count / 1e6 for price, count in zip(prices, reply.usage)),
            )
            for reply in self.server(prompts, seeds=seeds)
        ]

    def most(self, prompts: Sequence[Prompt]) -> int:
        """Prompts as the model at hand counts them, and the longest completions."""
        return sum(_lengths(self.model, prompts)) + len(prompts) * self.server.max_new_tokens


@dataclass(frozen=True)
class FunctionAuthor:
    """A function ``write(prompts: list[str]) -> list[str]``: a script, a wrapper of another service. No tokens are counted."""

    function: Callable[[list[str]], list[str]]

    def __call__(self, prompts: Sequence[Prompt], seed: int) -> list[Written]:
        """One text to each prompt.

        Raises:
            CounterpointError: the function gives something else than one text a prompt.
        """
        given = self.function([_as_text(prompt) for prompt in prompts])
        if (
            not isinstance(given, list)
            or len(given) != len(prompts)
            or not all(isinstance(each, str) for each in given)
        ):
            raise CounterpointError(
                f"the function '{getattr(self.function, '__name__', self.function)}' gave {str(given)[:80]!r} for {len(prompts)} "
                "prompts; expected a list with one text a prompt"
            )
        return [
            Written(text=text, ids=[], ended=True, prompt_tokens=0, completion_tokens=0, cost=0.0)
            for text in given
        ]

    def most(self, prompts: Sequence[Prompt]) -> int:
        """None are counted."""
        return 0


def of_sampler(sampler: Own | Served) -> ModelAuthor | ServedAuthor:
    """The author that a method's ``sampler`` settings describe."""
    return ModelAuthor(sampler) if isinstance(sampler, Own) else ServedAuthor(sampler.server, sampler.model)


@dataclass
class Writer:
    """Who writes: a group of settings.

    Attributes:
        author: "self" (the model at hand), "NAME@URL" (a server's model), a folder with a causal model, a bundled model's name,
            or a function, "package.module:function" or "file.py:function".
        temperature: of sampling; 0 is greedy.
        max_new_tokens: longest text.
        key_variable: the environment variable that holds the server's key, if it wants one.
        prompt_price, completion_price: of a million tokens, for the cost that is counted.
    """

    author: str = "self"
    temperature: float = 0.7
    max_new_tokens: int = 1024
    key_variable: str = "OPENAI_API_KEY"
    prompt_price: float = 0.0
    completion_price: float = 0.0

    def build(self, model: Language, folder: Path | None = None) -> Author:
        """The author.

        Args:
            model: what "self" is, and what counts the tokens of a server's prompts.
            folder: of the run; what a server gives is kept there.

        Raises:
            CounterpointError: nothing named, or no such folder, model or function.
        """
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        if self.author == "self":
            return ModelAuthor(Own(model, how))
        served = SERVED.fullmatch(self.author)
        if served is not None:
            server = Server(
                served["url"],
                served["model"],
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                prices=(self.prompt_price, self.completion_price),
                journal=None if folder is None else folder / FILE,
                key=os.environ.get(self.key_variable, ""),
            )
            return ServedAuthor(server, model)
        if FUNCTION.fullmatch(self.author):
            return FunctionAuthor(imported(self.author))
        if not self.author:
            raise CounterpointError(
                'an author must be named: "self", a model folder, "NAME@http://localhost:8000/v1", or "file.py:function"'
            )
        from counterpoint.models.language.language import load

        other = load(self.author).to(model.device).eval().requires_grad_(False)
        return ModelAuthor(Own(other, how))


def totals(written: Iterable[Written]) -> dict[str, float]:
    """Calls, tokens and cost of texts, in all.

    >>> totals([])
    {'calls': 0, 'prompt_tokens': 0, 'completion_tokens': 0, 'cost': 0.0}
    """
    rows = list(written)
    return {
        "calls": len(rows),
        "prompt_tokens": sum(row["prompt_tokens"] for row in rows),
        "completion_tokens": sum(row["completion_tokens"] for row in rows),
        "cost": float(sum(row["cost"] for row in rows)),
    }


def _lengths(model: Language, prompts: Sequence[Prompt]) -> list[int]:
    return [int(length) for length in model.prompts(prompts).lengths] if prompts else []


def _as_text(prompt: Prompt) -> str:
    """A prompt in words; pictures are left out."""
    if isinstance(prompt, str):
        return str(prompt)
    if len(prompt) == 1:
        return last_text(prompt)
    return "\n".join(f"{message['role']}: {last_text([message])}" for message in turns(prompt))
