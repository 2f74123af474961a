"""Groups of episodes: several attempts at every problem, of one turn or of several with tools. P problems, G attempts, N = P G."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from torch import Tensor

from counterpoint.conversation import Conversation, Message, Prompt, last_text, reworded, turns
from counterpoint.data.language.problem import Problem
from counterpoint.generation.episodes import play
from counterpoint.generation.samplers import Completes, Own
from counterpoint.generation.tools import Toolbox
from counterpoint.models import sharding
from counterpoint.phases.rollouts import Rollouts, sample_group


@dataclass
class Turns:
    """Episodes of several turns.

    Attributes:
        tools: "FILE.py:NAME" or "package.module:NAME", a function, a list of functions, or a class whose public methods are
            the tools of one episode; empty is one turn without tools.
        turns: how often the model may write in an episode.
    """

    tools: str = ""
    turns: int = 8


@dataclass(frozen=True)
class Attempts:
    """What came of a group.

    Attributes:
        rollouts: with the last turn of each episode as its text.
        own_texts: [N] all that the model wrote.
        lengths: [N] tokens of each of its turns.
        observations: [N] what an episode began with, besides the prompt.
        worth: [N] what the tools' state says of each episode; empty without a state.
    """

    rollouts: Rollouts
    own_texts: list[str]
    lengths: list[list[int]]
    observations: list[str]
    worth: list[float] = field(default_factory=list)

    def prompts(self, view: Sequence[Prompt]) -> list[Prompt]:
        """[N] prompts of a view [P], each G times, with what the episodes began with."""
        repeated = [prompt for prompt in view for _ in range(self.rollouts.count)]
        return [_observed(prompt, seen) for prompt, seen in zip(repeated, self.observations, strict=True)]


def attempt(
    sampler: Completes,
    problems: Sequence[Problem],
    view: Sequence[Prompt],
    count: int,
    draws: Tensor,
    toolbox: Toolbox | None = None,
) -> Attempts:
    """Attempt every problem ``count`` times.

    Args:
        sampler: who writes: the policy itself, or a server that follows it. Every process calls this, those without problems too.
        problems: P of them. view: [P] the prompts that are answered.
        draws: [P, G T] uniform numbers, or [P, G U T] where tools allow U turns.
        toolbox: of episodes of several turns; None is one turn.
    """
    if toolbox is None:
        rollouts = sample_group(sampler, problems, count, draws, view)
        lengths = [[length] for length in rollouts.completions.lengths.tolist()]
        return Attempts(rollouts, rollouts.texts, lengths, [""] * len(rollouts.prompts))
    rows = [problem for problem in problems for _ in range(count)]
    opened = [toolbox.open(_columns(row)) for row in rows]
    seen = [first for _, first in opened]
    prompts = [
        _with_tools(_observed(prompt, first), toolbox)
        for prompt, first in zip([prompt for prompt in view for _ in range(count)], seen)
    ]

    def respond(talks: Sequence[Conversation], numbers: Sequence[int]) -> list[list[Message]]:
        return [opened[row][0].replies(str(talk[-1]["content"])) for talk, row in zip(talks, numbers)]

    width = sampler.how.max_new_tokens
    most = draws.shape[1:].numel() // (count * width)  # not -1: a process may have no row
    sampler.follow()
    # Processes play different numbers of turns: none may need the others in one.
    there = sharding.whole(sampler.model) if isinstance(sampler, Own) else nullcontext()
    with there:
        played = play(sampler, prompts, respond, draws.reshape(len(rows), most, width))
    rollouts = Rollouts(problems, prompts, played.completions, count, played.last_texts())
    worth = [tools.reward for tools, _ in opened] if toolbox.factory is not None else []
    return Attempts(rollouts, played.own_texts(), played.lengths, seen, worth)


def with_tools(view: Sequence[Prompt], toolbox: Toolbox | None) -> list[Prompt]:
    """Prompts that say which tools there are."""
    return list(view) if toolbox is None else [_with_tools(prompt, toolbox) for prompt in view]


def _with_tools(prompt: Prompt, toolbox: Toolbox) -> Prompt:
    before = turns(prompt)
    return Conversation(before, before.tools or toolbox.schemas, before.options)


def _observed(prompt: Prompt, seen: str) -> Prompt:
    return reworded(prompt, f"{last_text(prompt)}\n\n{seen}") if seen else prompt


def _columns(row: Problem) -> dict[str, object]:
    return {
        "prompt": row.prompt,
        "answer": row.answer,
        "solution": row.solution,
        "hint": row.hint,
        **row.meta,
    }
