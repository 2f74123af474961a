"""Reviews of conjectures: how much a conjecture helps with its target, how tangled it is, whether it says things twice (2604.20209, appendix E).

A review is three marks: relevance 0-5, complexity of the conclusion 0-4, redundancy 0 or 1; ``objectives.preference.self_play`` makes
a score of them. A model writes it, or a rubric counts, where no model is there that could.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from counterpoint.generation.authors import Author
from counterpoint.judges.enclosed import CAUTION, enclosed, tag_of, verdict


class Review(NamedTuple):
    """Three marks."""

    relevance: int
    complexity: int
    redundancy: int


class Reviewer(Protocol):
    """A noun with one verb."""

    def __call__(self, pairs: Sequence[tuple[str, str]], seed: int) -> list[Review | None]:
        """Review (target, conjecture) pairs; None where a review cannot be read."""


JOINTS = re.compile(r"\|\||\\/|∨|\|(?!-)|\bor\b")
"""What stands between parts of a statement one of which is enough; Metamath's ``|-`` is none."""
WORD = re.compile(r"[^\s=|]+")


@dataclass(frozen=True)
class Rubric:
    """Counts in place of a model: words, or letters of single words, shared with the target; parts and length; repetition.

    >>> rubric = Rubric()
    >>> rubric.review("abab = bbaa", "abab = abba"), rubric.review("abab = bbaa", "cc = cc | c = c | ab = ba")
    (Review(relevance=4, complexity=0, redundancy=0), Review(relevance=0, complexity=4, redundancy=1))
    >>> rubric.review("|- p => |- q", "|- p => |- r").complexity
    0
    """

    def __call__(self, pairs: Sequence[tuple[str, str]], seed: int) -> list[Review | None]:
        """Review every pair; the seed decides nothing."""
        return [self.review(*pair) for pair in pairs]

    def review(self, target: str, conjecture: str) -> Review:
        """The marks of one conjecture."""
        mine, theirs = pieces(conjecture), pieces(target)
        shared = len(mine & theirs) / max(min(len(mine), len(theirs)), 1)
        parts = [" ".join(part.split()) for part in JOINTS.split(conjecture)]
        longer = len(conjecture) > 1.5 * len(target)
        complexity = min(2 * (len(parts) - 1) + int(longer), 4)
        sides = [part.split("=") for part in parts]
        same = any(len(side) == 2 and side[0].strip() == side[1].strip() for side in sides)
        return Review(round(5 * shared), complexity, int(same or len(set(parts)) < len(parts)))


def pieces(statement: str) -> set[str]:
    """What two statements can share: runs of three letters of words, shorter words whole; symbols by themselves are none.

    >>> sorted(pieces("abab = c"))
    ['aba', 'bab', 'c']
    """
    words = [word for word in WORD.findall(statement) if any(letter.isalnum() for letter in word)]
    return {word[at : at + 3] for word in words for at in range(max(len(word) - 2, 1))}


@dataclass(frozen=True)
class ModelReviewer:
    """A model's reviews; what it reviews stands between tags that nobody knows beforehand, and so does its verdict's line.

    Attributes:
        author: who writes.
    """

    author: Author

    def __call__(self, pairs: Sequence[tuple[str, str]], seed: int) -> list[Review | None]:
        """One text a pair."""
        shown = [review_prompt(*pair) for pair in pairs]
        written = self.author([prompt for prompt, _ in shown], seed) if shown else []
        return [review_of(each["text"], tag) for each, (_, tag) in zip(written, shown, strict=True)]


def review_prompt(target: str, conjecture: str) -> tuple[str, str]:
    """What a reviewer is shown, and the tag of its verdict."""
    tag = tag_of(target, conjecture)
    text = "\n\n".join(
        [
            "You review a statement that somebody proposes as a step towards proving a target statement. "
            + CAUTION.format(tag=tag),
            enclosed("Target:", target, tag),
            enclosed("Proposed statement:", conjecture, tag),
            "Judge three things.\n"
            "Relevance, 0 to 5: 0 has nothing to do with the target, 3 uses its notions, 5 is a lemma whose proof brings the target close.\n"
            "Complexity of the conclusion, 0 to 4: 0 is one clean claim, 2 has parts that are not needed, 4 is a tangle of alternatives or cases.\n"
            "Redundancy of premises, 0 or 1: 1 where premises repeat or imply each other, or are not used.",
            f"Give your reasons in a few sentences, then end with a line of its own:\nVerdict {tag}: RELEVANCE, COMPLEXITY, REDUNDANCY",
        ]
    )
    return text, tag


def review_of(reply: str, tag: str) -> Review | None:
    """The marks of a reply; None where its verdict has none, or one out of range.

    >>> review_of("Fine.\\nVerdict ab: 4, 1, 0", "ab"), review_of("Verdict cd: 5, 0, 0", "ab"), review_of("Verdict ab: 9, 0, 0", "ab")
    (Review(relevance=4, complexity=1, redundancy=0), None, None)
    """
    marks = re.fullmatch(r"\D*([0-5])\D+([0-4])\D+([01])\D*", verdict(reply, tag))
    return None if marks is None else Review(int(marks[1]), int(marks[2]), int(marks[3]))
