"""Refining answers until a judge accepts them, many at once (SPaR, arXiv 2412.11605): critics, refiners, searches, and what they teach.

A *critic* values answers, a *refiner* rewrites one by its critique; ``refined`` grows a tree of refinements for each of many answers, with
one call of each model for all searches that wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from counterpoint.conversation import Message, Prompt
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.problem import Problem
from counterpoint.generation.authors import Author
from counterpoint.generation.refinement_tree import Node, Outcome, Refine, Search, Sent, Tree, search
from counterpoint.judges.enclosed import question_of
from counterpoint.judges.judge import Judge
from counterpoint.judges.votes.absolute import judgement_prompt, tally, verdict_of
from counterpoint.training.seeds import derive

REWRITE = (
    "Based on your judgement, refine the output so that it meets every demand of the prompt. Change no more than that. Write the "
    "refined output between [[start{tag}]] and [[end{tag}]]."
)
MOST_ROUNDS = 3
"""How often a tie is voted on again."""


class Judgement(TypedDict):
    """What a critic found of an answer; plain data.

    ``value`` in [0, 1]; ``label`` 1, 0 or None without a decision; ``critique`` the text that says what the label says, None without a
    decision; ``split`` whether valid votes contradict each other.
    """

    value: float
    label: int | None
    critique: str | None
    split: bool


class Critic(Protocol):
    """A noun with one verb."""

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], seed: int) -> list[Judgement]:
        """Value one answer to each problem."""
        ...


@dataclass(frozen=True)
class VotedCritic:
    """A model that is asked several times, by majority (``judges.votes.absolute``).

    Attributes:
        author: who is asked. votes: how often. rounds: how often ties are voted on again. guarded: read verdicts by tags.
    """

    author: Author
    votes: int = 5
    rounds: int = MOST_ROUNDS
    guarded: bool = True

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], seed: int) -> list[Judgement]:
        """Value one answer to each problem."""
        requests = [
            judgement_prompt(question_of(p), text, self.guarded)
            for p, text in zip(problems, texts, strict=True)
        ]
        verdicts: list[list[list[int]]] = [[] for _ in requests]
        replies: list[list[list[str]]] = [[] for _ in requests]
        for number in range(self.rounds):
            open_ones = [at for at in range(len(requests)) if tally(verdicts[at]) is None]
            if not open_ones:
                break
            prompts = [requests[at][0] for at in open_ones for _ in range(self.votes)]
            written = [each["text"] for each in self.author(prompts, derive(seed, "votes", number))]
            for at, start in zip(open_ones, range(0, len(written), self.votes)):
                mine = written[start : start + self.votes]
                replies[at].append(mine)
                verdicts[at].append([verdict_of(reply, requests[at][1]) for reply in mine])
        return [self._decided(*each) for each in zip(verdicts, replies)]

    def _decided(self, verdicts: list[list[int]], replies: list[list[str]]) -> Judgement:
        decision = tally(verdicts)
        if decision is None:
            return Judgement(value=0.0, label=None, critique=None, split=False)
        votes = verdicts[decision.round]
        return Judgement(
            value=decision.value,
            label=decision.label,
            critique=replies[decision.round][decision.index],
            split=0 in votes and 1 in votes,
        )


@dataclass(frozen=True)
class JudgeCritic:
    """Any judge (``judges.choose``): its reward is the value, what it wrote the critique."""

    judge: Judge

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], seed: int) -> list[Judgement]:
        """Value one answer to each problem; an answer without a reward has no decision."""
        answers = [[Answer(ids=[], text=text, ended=True)] for text in texts]
        verdicts = self.judge(problems, answers)
        rows = zip(verdicts.rewards[:, 0].tolist() if len(texts) else [], verdicts.texts)
        return [
            Judgement(value=0.0, label=None, critique=None, split=False)
            if reward != reward
            else Judgement(
                value=min(max(reward, 0.0), 1.0), label=int(reward > 0.5), critique=written[0], split=False
            )
            for reward, written in rows
        ]


def dialogue(problem: Problem, text: str, critique: str, guarded: bool = True) -> tuple[list[Message], str]:
    """The conversation that asks for a refinement: judgement asked for and given, then the request; and the tag of the answer."""
    prompt, tag = judgement_prompt(question_of(problem), text, guarded)
    request = REWRITE.replace("{tag}", f" {tag}" if tag else "")
    talk = [("user", prompt), ("assistant", critique), ("user", request)]
    return [{"role": role, "content": content} for role, content in talk], tag


def refinement_of(reply: str, tag: str = "") -> str | None:
    """The answer between the marks of a reply, stripped; None without one, or where it is empty.

    >>> refinement_of("so: [[start]] b3 [[end]]"), refinement_of("[[start]]x[[end]]", "0a"), refinement_of("[[start 0a]]x[[end 0a]]", "0a")
    ('b3', None, 'x')
    """
    mark = re.escape(f" {tag}") if tag else ""
    matches = re.findall(rf"\[\[start{mark}\]\](.*?)\[\[end{mark}\]\]", reply, re.DOTALL)
    return (matches[-1 if tag else 0].strip() or None) if matches else None


def refined(
    problems: Sequence[Problem],
    roots: Sequence[tuple[str, str]],
    refiner: Author,
    critic: Critic,
    tree: Tree,
    *,
    seed: int,
    guarded: bool = True,
) -> list[Outcome]:
    """Grow a tree of refinements for each answer.

    Args:
        problems: P of them. roots: for each an answer that was rejected, with its critique.
        refiner: rewrites. critic: values. tree: how to search.
        seed: of what is drawn.
        guarded: read answers of the refiner by tags that no answer can know.

    Returns:
        [P] outcomes, each with its whole tree.
    """
    searches: list[Search] = [search(Node(text, critique=critique), tree) for text, critique in roots]
    outcomes: list[Outcome | None] = [None] * len(searches)
    waiting: dict[int, Any] = {}

    def advance(at: int, sent: Sent) -> None:
        try:
            waiting[at] = searches[at].send(sent)
        except StopIteration as end:
            outcomes[at] = end.value

    for at in range(len(searches)):
        advance(at, None)
    step = 0
    while waiting:
        rewriting = {at: each for at, each in waiting.items() if isinstance(each, Refine)}
        valuing = {at: each for at, each in waiting.items() if at not in rewriting}
        waiting, step = {}, step + 1
        talks = {
            at: dialogue(problems[at], each.node.text, each.node.critique or "", guarded)
            for at, each in rewriting.items()
        }
        prompts: list[Prompt] = [talk for talk, _ in talks.values()]
        replies = refiner(prompts, derive(seed, "refine", step)) if talks else []
        for (at, (_, tag)), reply in zip(talks.items(), replies):
            text = refinement_of(reply["text"], tag)
            advance(at, None if text is None else (text, reply["text"]))
        given = [problems[at] for at in valuing], [each.text for each in valuing.values()]
        judgements = critic(*given, derive(seed, "value", step)) if valuing else []
        for at, judgement in zip(valuing, judgements):
            advance(at, (judgement["value"], judgement["critique"]))
    return [outcome for outcome in outcomes if outcome is not None]


def better_answers(
    problems: Sequence[Problem],
    texts: Sequence[str],
    refiner: Author,
    critic: Critic,
    tree: Tree | None = None,
    *,
    seed: int = 0,
) -> list[str]:
    """Search at inference: answers that the critic accepts stay, the others become the best of their trees."""
    judgements = critic(problems, texts, derive(seed, "first"))
    at = [n for n, each in enumerate(judgements) if each["label"] == 0]
    roots = [(texts[n], str(judgements[n]["critique"])) for n in at]
    outcomes = refined([problems[n] for n in at], roots, refiner, critic, tree or Tree(), seed=seed)
    result = list(texts)
    for n, outcome in zip(at, outcomes):
        result[n] = outcome.best.text
    return result
