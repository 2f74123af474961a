"""Samplers: ``sampler(prompts, n, draws) -> answers`` with their token log-probabilities, from the model itself or a server.

Every method that samples has a group of settings ``sampler`` that says which. P prompts, n answers to each, T positions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.engine import Engine, root_of
from counterpoint.generation.journal import FILE
from counterpoint.generation.sampler import Sampled, Sampler
from counterpoint.generation.server import Server
from counterpoint.models import tokens
from counterpoint.models.language.language import Language, Prompt
from counterpoint.models.tokens import Tokens

ENGINE = "engine"
"""The folder of a run in which a server finds the policy's weights; nothing of it is needed when the run is finished."""


class Samples(Protocol):
    """A noun with one verb: what answers prompts."""

    @property
    def model(self) -> Language:
        """The model whose tokens the answers are given in."""

    @property
    def how(self) -> Sampler:
        """Length, temperature and truncation."""

    def follow(self) -> None:
        """Be ready for a stage, in which no process waits for another: a server is given the weights of this step."""

    def __call__(self, prompts: Sequence[Prompt], n: int = 1, draws: Tensor | None = None) -> Sampled:
        """Answer every prompt ``n`` times.

        Args:
            prompts: P texts or conversations.
            n: answers to each; the rows of one prompt are neighbours.
            draws: [P n, T] uniform numbers that decide the answers; None for greedy sampling.

        Returns:
            [P n] completions with their log-probabilities, NaN where a server gave none.
        """
        ...


class Completes(Samples, Protocol):
    """A sampler that goes on from token ids as they are, which a text that is tokenised again need not give."""

    def complete(self, contexts: Tokens, draws: Tensor | None = None) -> Sampled:
        """Go on from rows of tokens. No process waits for another: ``follow`` comes first.

        Args:
            contexts: [B, P] left-padded.
            draws: [B, T] uniform numbers; None for greedy sampling.

        Returns:
            [B] completions with their log-probabilities.
        """
        ...


@dataclass(frozen=True)
class Own:
    """Answers from a model at hand, with the log-probabilities that it gave them.

    >>> from counterpoint.generation.sampler import row_draws
    >>> from counterpoint.models.language.characters import tiny
    >>> answers = Own(tiny(seed=0), Sampler(max_new_tokens=4))(["1+1=", "2+2="], 3, row_draws(0, range(6), 4))
    >>> len(answers), answers.log_probs.shape == answers.ids.shape
    (6, True)
    """

    model: Language
    how: Sampler

    def follow(self) -> None:
        """Nothing: its weights are what they are."""

    def __call__(self, prompts: Sequence[Prompt], n: int = 1, draws: Tensor | None = None) -> Sampled:
        """Answer every prompt ``n`` times; see ``Samples``."""
        repeated = [prompt for prompt in prompts for _ in range(n)]
        return self.complete(self.model.prompts(repeated), draws)

    def complete(self, contexts: Tokens, draws: Tensor | None = None) -> Sampled:
        """Go on from rows of tokens; see ``Completes``."""
        return self.how(self.model, contexts, draws)


@dataclass(frozen=True)
class Served:
    """Answers from an OpenAI-compatible server, in the tokens of a model at hand.

    A server's text is tokenised again. Its log-probabilities are those of the weights *it* serves; they are handed on where its
    tokens are as many as the model's, and are NaN elsewhere.
    """

    server: Server
    model: Language
    how: Sampler

    def follow(self) -> None:
        """Nothing: its weights are what they are."""

    def __call__(self, prompts: Sequence[Prompt], n: int = 1, draws: Tensor | None = None) -> Sampled:
        """Answer every prompt ``n`` times; each row's seed follows from its first draw."""
        repeated = [prompt for prompt in prompts for _ in range(n)]
        seeds = None if draws is None else [int(2**31 * float(row[0])) for row in draws]
        replies = self.server(repeated, seeds=seeds)
        _, whole = self.model.rows(repeated, [reply.text for reply in replies])
        stops = set(self.model.stops)
        rows = [_as_sampled(ids, reply.ended, stops) for ids, reply in zip(whole.rows(), replies)]
        padded = tokens.pad(rows, side="right", fill=self.model.pad_id).to(self.model.device)
        log_probs = torch.full(padded.ids.shape, math.nan, device=padded.ids.device)
        for at, (reply, ids) in enumerate(zip(replies, rows)):
            given = len(reply.log_probs)
            if given and given in (len(ids), len(ids) - 1):
                log_probs[at, :given] = torch.tensor(reply.log_probs, device=log_probs.device)
        log_probs = log_probs.masked_fill(padded.mask == 0, 0.0)
        ended = torch.tensor([reply.ended for reply in replies], device=log_probs.device)
        return Sampled(padded.ids, padded.mask, log_probs, ended)


def _as_sampled(ids: list[int], ended: bool, stops: set[int]) -> list[int]:
    """A reply as the model would have sampled it: up to the first end token, which is missing where the reply was cut off."""
    last = next((at for at, number in enumerate(ids) if number in stops), len(ids))
    return ids[: last + 1] if ended or not last else ids[:last]


@dataclass
class Source:
    """Where answers are sampled: a group of settings.

    Attributes:
        kind: "model", the model itself, or "server", any OpenAI-compatible server.
        url: of the server, up to the version, such as "http://localhost:8000/v1".
        model: the name the server knows its model by.
        key_variable: the environment variable that holds the server's key, if it wants one.
        at_once: requests under way at a time.
        per_minute: requests that may begin in a minute; 0 sets no limit.
        timeout: seconds that one request may take.
        stop: texts that end an answer, besides the model's end tokens; the answer keeps them, but for that of a "server".
        prompt_price, completion_price: of a million tokens, for the cost that is counted.
    """

    kind: Literal["model", "server"] = "model"
    url: str = ""
    model: str = ""
    key_variable: str = "OPENAI_API_KEY"
    at_once: int = 8
    per_minute: float = 0.0
    timeout: float = 600.0
    stop: tuple[str, ...] = ()
    prompt_price: float = 0.0
    completion_price: float = 0.0

    def ended_by(self, how: Sampler) -> Sampler:
        """The sampling of a method with these settings' stop texts."""
        return replace(how, stop=tuple(self.stop)) if self.stop else how

    def build(
        self, method: str, model: Language, how: Sampler, *, on_policy: str = "", folder: Path | None = None
    ) -> Own | Served:
        """The sampler.

        Args:
            method: the key of the method that asks.
            model: what is sampled from, or, for a server, whose tokens the answers are given in.
            how: length, temperature and truncation.
            folder: of the run; what a server gives is kept there, in ``requests.jsonl``, and is not paid for twice.
            on_policy: why answers must be the model's own at this very step; a server is then refused.

        Raises:
            CounterpointError: a server without an address or a model's name, an address without a server, a server where the
                model's own answers are needed.
        """
        how = self.ended_by(how)
        if self.timeout <= 0:
            raise CounterpointError(f"{method}: sampler.timeout={self.timeout:g}; expected seconds above 0")
        if self.kind == "model":
            if self.url or self.model:
                raise CounterpointError(
                    f"{method}: sampler.url={self.url!r}, sampler.model={self.model!r} and sampler.kind=model; to sample from "
                    "the server, set sampler.kind=server as well"
                )
            return Own(model, how)
        if on_policy:
            raise CounterpointError(
                f"{method}: sampler.kind=server, but {on_policy}; a server samples from the weights it serves and knows no "
                "log-probabilities of the model in training. Use sampler.kind=model, or distil a served teacher with "
                "counterpoint run gkd --sampler server --sampler.url URL --sampler.model NAME"
            )
        if not self.url or not self.model:
            raise CounterpointError(
                f"{method}: sampler.kind=server needs its address and the model it serves: --sampler server "
                "--sampler.url http://localhost:8000/v1 --sampler.model NAME"
            )
        if how.top_k:
            raise CounterpointError(f"{method}: top_k={how.top_k} is no option of OpenAI-compatible servers")
        server = Server(
            self.url,
            self.model,
            max_new_tokens=how.max_new_tokens,
            temperature=how.temperature,
            top_p=how.top_p,
            stop=how.stop,
            at_once=self.at_once,
            per_minute=self.per_minute,
            timeout=self.timeout,
            prices=(self.prompt_price, self.completion_price),
            journal=None if folder is None else folder / FILE,
            key=os.environ.get(self.key_variable, ""),
        )
        return Served(server, model, how)


@dataclass
class CandidateSource(Source):
    """Where a policy in training is sampled for answers that are judged, and learnt from by their own likelihoods, whoever wrote them.

    Attributes:
        kind: as of ``Source``; "vllm" is a server that is given the weights of the policy whenever they have changed.
        anywhere: of vllm, whether it may stand at an address that is neither loopback nor private.
        patience: of vllm, seconds that a server which answered before is waited for when it is gone.
    """

    kind: Literal["model", "server", "vllm"] = "model"  # type: ignore[assignment]
    anywhere: bool = False
    patience: float = 600.0

    def build(  # type: ignore[override]
        self, method: str, model: Language, how: Sampler, *, on_policy: str = "", folder: Path | None = None
    ) -> Own | Served | Engine:
        """The sampler, see ``Source.build``; ``folder`` is the run's, where weights are written for vllm.

        Raises:
            CounterpointError: as there; a server of weights at a public address.
        """
        if self.kind != "vllm" or self.timeout <= 0:
            return super().build(method, model, how, on_policy=on_policy, folder=folder)
        if not self.url or not self.model:
            raise CounterpointError(
                f"{method}: sampler.kind=vllm needs the server's address and the base model it serves: --sampler vllm "
                "--sampler.url http://127.0.0.1:8000 --sampler.model NAME"
            )
        assert folder is not None
        how = self.ended_by(how)
        server = Server(
            root_of(self.url, self.anywhere),
            self.model,
            at_once=self.at_once,
            per_minute=self.per_minute,
            timeout=self.timeout,
            tries=1,
            key=os.environ.get(self.key_variable, ""),
        )
        return Engine(server, model, how, folder / ENGINE, patience=self.patience)


@dataclass
class PolicySource(CandidateSource):
    """Where a policy in training is sampled for answers whose tokens are learnt from as its own of this very step.

    Attributes:
        cap: of vllm, the largest weight of a token: what the policy gives it over what the server gave it
            (``objectives.preference.mismatch.engine_weights``).
    """

    cap: float = 3.0

    @property
    def largest_weight(self) -> float | None:
        """``cap`` where an engine samples; None where the policy itself does."""
        return self.cap if self.kind == "vllm" else None

    def build(  # type: ignore[override]
        self, method: str, model: Language, how: Sampler, *, on_policy: str = "", folder: Path | None = None
    ) -> Own | Served | Engine:
        """The sampler, see ``CandidateSource.build``.

        Raises:
            CounterpointError: as there, or a cap below 1.
        """
        if self.kind == "vllm" and self.cap < 1:
            raise CounterpointError(f"{method}: sampler.cap={self.cap:g}; the largest weight is 1 or more")
        return super().build(method, model, how, on_policy=on_policy, folder=folder)
