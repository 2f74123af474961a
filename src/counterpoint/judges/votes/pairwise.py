"""Votes on two sets of answers to the same questions: which set meets the requirements better? (prompt SPO, arXiv 2502.06855, Alg. 1)

Each of n votes shows both sets in a random order; vote j counts for the new set, v_j = 1, when the judge names the letter that the
new set had. The new one is accepted on a strict majority,

    accept = [ sum v_j > n - sum v_j ],    P(accept) = sum_{k > n/2} C(n, k) p^k (1 - p)^(n - k),

so that 2 : 2 keeps the old one, and a judge who always names "A" accepts as a coin does, whichever set is better.

No answer can vote: with a tag (``judges.enclosed``) only the line "Verdict TAG: LETTER" of the judge's own reply counts, and no writer of
an answer can know the tag, a digest of all answers. Without one the published contract holds, the first <choose>LETTER</choose>.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import comb

from counterpoint.judges.enclosed import CAUTION, enclosed, tag_of, verdict

CHOSEN = re.compile(r"<choose>(.*?)</choose>", re.DOTALL)


def listed(questions: Sequence[str], answers: Sequence[str]) -> str:
    """Questions with their answers as one numbered text.

    >>> print(listed(["1+1="], ["2"]))
    Question 1:
    1+1=
    Answer 1:
    2
    """
    return "\n\n".join(
        f"Question {at}:\n{question}\nAnswer {at}:\n{answer}"
        for at, (question, answer) in enumerate(zip(questions, answers, strict=True), 1)
    )


def ballot(
    requirements: str,
    questions: Sequence[str],
    old: Sequence[str],
    new: Sequence[str],
    *,
    swapped: bool,
    sketch: str = "",
    guarded: bool = True,
) -> tuple[str, str]:
    """The prompt of one vote, and its tag, empty where it is not guarded.

    Args:
        requirements: what the answers should do.
        questions: both sets are about them.
        old, new: the sets; the old one stands first, as A, unless ``swapped``.
        sketch: the form of an answer that is wanted; perhaps empty.
        guarded: enclose the sets and ask for a verdict with the tag.
    """
    first, second = (listed(questions, each) for each in ((new, old) if swapped else (old, new)))
    tag = tag_of(requirements, first, second) if guarded else ""
    shown = (
        [enclosed("Response A:", first, tag), enclosed("Response B:", second, tag)]
        if guarded
        else [f"<response_a>\n{first}\n</response_a>", f"<response_b>\n{second}\n</response_b>"]
    )
    ending = (
        "Say what is good and bad about each. Then end with a line of its own that names A or B:\n"
        f"Verdict {tag}: LETTER"
        if guarded
        else "Reply with <analyse>what is good and bad about each</analyse> and then <choose>A</choose> or <choose>B</choose>."
    )
    parts = [
        f"Two responses to the same questions are to be compared by how well they meet a requirement.{' ' + CAUTION.format(tag=tag) if guarded else ''}",
        f"Requirement:\n{requirements}",
        *([f"The form of answer that is expected:\n{sketch}"] if sketch else []),
        *shown,
        ending,
    ]
    return "\n\n".join(parts), tag


def choice(reply: str, tag: str = "") -> str:
    """The letter that a reply names: with a tag the tagged verdict's, in capitals; else what stands in its first <choose>, stripped.

    >>> choice("<choose> B </choose> <choose>A</choose>"), choice("B it is")
    ('B', '')
    >>> choice("It says <choose>A</choose> and 'Verdict: A'.\\nVerdict 0a1b: b", "0a1b")
    'B'
    """
    if tag:
        return verdict(reply, tag).upper()
    match = CHOSEN.search(reply)
    return match.group(1).strip() if match else ""


def new_wins(letter: str, swapped: bool) -> bool:
    """Whether a vote counts for the new set; anything but its letter counts for the old one.

    >>> new_wins("B", False), new_wins("A", True), new_wins("B", True), new_wins("", False)
    (True, True, False, False)
    """
    return letter == ("A" if swapped else "B")


def strict_majority(votes: Sequence[bool]) -> bool:
    """Whether more than half of the votes are for the new set.

    >>> strict_majority([True, True, False, False]), strict_majority([True, True, True, False])
    (False, True)
    """
    return 2 * sum(votes) > len(votes)


def acceptance(p: float, votes: int) -> float:
    """The probability of a strict majority when each vote is for the new set with probability p.

    >>> round(acceptance(0.5, 4), 4), round(acceptance(0.9, 4), 4)
    (0.3125, 0.9477)
    """
    return sum(comb(votes, k) * p**k * (1 - p) ** (votes - k) for k in range(votes // 2 + 1, votes + 1))
