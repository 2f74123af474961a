"""Votes on one answer: does it follow its instruction? (SPaR, arXiv 2412.11605, section 2.2)

A judge is asked n times, each reply is a verdict v of 1 (follows), 0 (does not) or -1 (invalid), and

    V(y) = #{v = 1} / (#{v = 1} + #{v = 0}),   label = 1 if #{v = 1} > #{v = 0},   critique = the first reply whose verdict is the label.

A tie, also 0 : 0, is asked about again, at most so many rounds; then V = 0 and there is no critique.

No answer can judge itself: guarded, only the line "Verdict TAG: Yes" of the judge's own reply counts (``judges.enclosed``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from counterpoint.judges.enclosed import CAUTION, enclosed, tag_of, verdict

MARK = "Final Judgement"
INVALID = -1


@dataclass(frozen=True)
class Tally:
    """What votes came to.

    Attributes:
        value: share of the valid votes that say yes; 0 where there is no decision.
        label: 1 or 0; None where there is no decision.
        index: of the first vote that says what the label says, within its round; -1 without a decision.
        round: whose votes decided.
    """

    value: float
    label: int | None
    index: int
    round: int


def tally(rounds: Sequence[Sequence[int]]) -> Tally | None:
    """The decision of the first round that is no tie; None where none is yet.

    >>> tally([[1, 1, 0, -1, 1]])
    Tally(value=0.75, label=1, index=0, round=0)
    >>> tally([[1, 0, -1]]) is None
    True
    """
    for number, verdicts in enumerate(rounds):
        yes, no = verdicts.count(1), verdicts.count(0)
        if yes != no:
            label = int(yes > no)
            return Tally(yes / (yes + no), label, list(verdicts).index(label), number)
    return None


UNDECIDED = Tally(0.0, None, -1, -1)
"""What stands where no round decided."""


def judgement_prompt(question: str, answer: str, guarded: bool = True) -> tuple[str, str]:
    """What a judge is asked about an answer, and the tag, empty where it is not guarded."""
    tag = tag_of(question, answer) if guarded else ""
    parts = [
        "Check whether an output follows its prompt. Go through the prompt's demands one by one, and say of each whether it is met.",
        *([CAUTION.format(tag=tag)] if tag else []),
        enclosed("Prompt:", question, tag) if tag else f"Prompt:\n{question}",
        enclosed("Output:", answer, tag) if tag else f"Output:\n{answer}",
        f"End with a line of its own, Yes if every demand is met and No otherwise:\nVerdict {tag}: WORD"
        if tag
        else f"End with: {MARK} (if the Output accurately follows the Prompt): Yes or No",
    ]
    return "\n\n".join(parts), tag


def verdict_of(reply: str, tag: str = "") -> int:
    """1, 0 or -1 of a reply: with a tag by its tagged verdict, else by what follows the first "Final Judgement", as published.

    >>> verdict_of("Final Judgement: No, although Yes for part"), verdict_of("Final Judgement: Yes. No constraint is missed")
    (0, 1)
    >>> verdict_of("I think Yes"), verdict_of("Final Judgement: Yes", "0a1b"), verdict_of("Verdict 0a1b: yes", "0a1b")
    (-1, -1, 1)
    """
    if tag:
        word = re.match(r"\w*", verdict(reply, tag).casefold())
        return {"yes": 1, "no": 0}.get(word.group() if word else "", INVALID)
    _, mark, after = reply.partition(MARK)
    yes, no = after.find("Yes"), after.find("No")
    if not mark or yes == no:
        return INVALID
    return int(no < 0 or 0 <= yes < no)
