"""What searches teach a refiner (SPaR, arXiv 2412.11605, section 2.4): accepted refinements, and judgements that were not unanimous.

Judgements that all votes agree on are not learnt: nothing in them is new.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from counterpoint.conversation import Message
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.problem import Problem
from counterpoint.generation.refinement_tree import Outcome
from counterpoint.judges.enclosed import question_of
from counterpoint.judges.votes.absolute import judgement_prompt
from counterpoint.phases.refinement import dialogue


class Example(TypedDict):
    """A conversation and its reply; ``kind`` is one of the names of ``Shares``."""

    kind: str
    prompt: list[Message]
    reply: str


@dataclass
class Shares:
    """How many examples of a round are learnt, by kind: a group of settings.

    Attributes:
        refinements: what led to an accepted answer.
        tree_yes, tree_no: judgements of a search's answers that most, not all, votes accept or reject; one of each a search.
        split_yes, split_no: the same of sampled answers.
    """

    refinements: int = 4000
    tree_yes: int = 1500
    tree_no: int = 1000
    split_yes: int = 2500
    split_no: int = 500


def of_tree(problem: Problem, outcome: Outcome, guarded: bool = True) -> list[Example]:
    """The examples of one search."""
    examples = []
    node = outcome.best
    if outcome.accepted and node.parent is not None:
        talk, _ = dialogue(problem, node.parent.text, node.parent.critique or "", guarded)
        examples.append(Example(kind="refinements", prompt=talk, reply=node.raw))
    for kind, low, high in (("tree_yes", 0.5, 1.0), ("tree_no", 0.0, 0.5)):
        among = [
            each for each in outcome.post_order() if each is not outcome.root and low < each.value < high
        ]
        if among:
            examples.append(_judgement(kind, problem, among[0].text, among[0].critique or "", guarded))
    return examples


def of_answers(
    problems: Sequence[Problem],
    drawn: Sequence[Sequence[Answer]],
    judged: Sequence[Sequence[Any]],
    guarded: bool = True,
) -> list[Example]:
    """Judgements of sampled answers that votes disagree about."""
    return [
        _judgement(
            "split_yes" if each["label"] else "split_no", problem, answer["text"], each["critique"], guarded
        )
        for problem, answers, row in zip(problems, drawn, judged, strict=True)
        for answer, each in zip(answers, row, strict=True)
        if each["split"]
    ]


def chosen_examples(examples: Sequence[Example], shares: Shares, seed: int) -> list[Example]:
    """At most so many of each kind, at random, no first message twice among the judgements and none among the refinements."""
    seen: set[tuple[bool, str]] = set()
    unique = []
    for each in examples:
        identity = each["kind"] == "refinements", str(each["prompt"][0]["content"])
        if identity not in seen:
            seen.add(identity)
            unique.append(each)
    draw, result = random.Random(seed), []
    for kind, most in vars(shares).items():
        mine = [each for each in unique if each["kind"] == kind]
        result += (
            mine if len(mine) <= most else [mine[at] for at in sorted(draw.sample(range(len(mine)), most))]
        )
    return result


def _judgement(kind: str, problem: Problem, text: str, critique: str, guarded: bool) -> Example:
    prompt, _ = judgement_prompt(question_of(problem), text, guarded)
    return Example(kind=kind, prompt=[{"role": "user", "content": prompt}], reply=critique)
