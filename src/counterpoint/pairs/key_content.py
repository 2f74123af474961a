"""Answers of known degrees: an answer without the first, then more, and then all of its key phrases.

Of the abstract of SPO (2409.17791), which does not say how; reconstructed: with K phrases, the best first, degree k of M leaves out the
first ceil(k K / (M - 1)). Degrees that leave out as many as the one before are none. Text is shortened, and made into tokens afterwards.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WORD = re.compile(r"\w+(?:['’-]\w+)*")


@dataclass(frozen=True)
class Phrase:
    """A span of units (characters of a text, or tokens) with how much it matters.

    Attributes:
        start, end: of the span; the end is not in it. score: of two phrases the higher is removed first, and of equals the earlier.
    """

    start: int
    end: int
    score: float = 0.0


@dataclass(frozen=True)
class Variant:
    """A shortened answer and its degree, 0 for the whole answer."""

    text: str
    degree: int


def removal_order(phrases: Sequence[Phrase]) -> list[int]:
    """Numbers of the phrases in the order in which they are removed.

    >>> removal_order([Phrase(0, 2, 1.0), Phrase(5, 6, 3.0), Phrase(3, 4, 3.0)])
    [2, 1, 0]
    """
    return sorted(range(len(phrases)), key=lambda at: (-phrases[at].score, phrases[at].start))


def removed_counts(phrases: int, degrees: int) -> list[int]:
    """How many phrases each degree leaves out.

    >>> removed_counts(5, 4), removed_counts(1, 4), removed_counts(0, 2)
    ([0, 2, 4, 5], [0, 1, 1, 1], [0, 0])
    """
    return [-(-degree * phrases // (degrees - 1)) for degree in range(degrees)]


def keep_masks(size: int, phrases: Sequence[Phrase], degrees: int) -> Tensor:
    """[M, size] bool, which units of a text each degree keeps."""
    keep_Mn = torch.ones(degrees, size, dtype=torch.bool)
    order = removal_order(phrases)
    for degree, count in enumerate(removed_counts(len(phrases), degrees)):
        for at in order[:count]:
            keep_Mn[degree, phrases[at].start : phrases[at].end] = False
    return keep_Mn


def variants(text: str, phrases: Sequence[Phrase], degrees: int) -> list[Variant]:
    """The answer and its valid shortened forms; one that leaves nothing is none.

    >>> [v.text for v in variants("the red fox and the dog", [Phrase(4, 11, 2.0), Phrase(20, 23, 1.0)], 3)]
    ['the red fox and the dog', 'the and the dog', 'the and the']
    """
    counts = removed_counts(len(phrases), degrees)
    result = [Variant(text, 0)]
    for degree, keep_n in enumerate(keep_masks(len(text), phrases, degrees).tolist()):
        if degree and counts[degree] != counts[degree - 1]:
            short = tidy("".join(each for each, keep in zip(text, keep_n) if keep))
            if short.strip():
                result.append(Variant(short, degree))
    return result


def decoys(text: str, phrases: Sequence[Phrase], degrees: int, draw: random.Random) -> list[Variant]:
    """Degree 0 at the lengths of the others: as many words removed as a degree removes, none of them in a key phrase.

    A length of which the text has too few other words has none.
    """
    words = [Phrase(*match.span()) for match in WORD.finditer(text)]
    inside = [any(p.start <= w.start and w.end <= p.end for p in phrases) for w in words]
    free = [word for word, key in zip(words, inside) if not key]
    order, result = removal_order(phrases), []
    counts = removed_counts(len(phrases), degrees)
    for degree in range(1, degrees):
        spans = [phrases[at] for at in order[: counts[degree]]]
        removed = sum(any(p.start <= w.start and w.end <= p.end for p in spans) for w in words)
        if counts[degree] == counts[degree - 1] or not 0 < removed < len(free):
            continue
        keep = torch.ones(len(text), dtype=torch.bool)
        for word in draw.sample(free, removed):
            keep[word.start : word.end] = False
        result.append(Variant(tidy("".join(each for each, keeps in zip(text, keep.tolist()) if keeps)), 0))
    return result


def random_spans(text: str, phrases: Sequence[Phrase], draw: random.Random) -> list[Phrase]:
    """As many spans of as many words anywhere in the text, in random order: what key content is compared with."""
    words = [Phrase(*match.span()) for match in WORD.finditer(text)]
    free = set(range(len(words)))
    result = []
    for phrase in phrases:
        length = sum(phrase.start <= word.start and word.end <= phrase.end for word in words)
        starts = [at for at in range(len(words)) if all(at + step in free for step in range(length))]
        if not length or not starts:
            continue
        first = draw.choice(starts)
        free -= set(range(first, first + length))
        result.append(Phrase(words[first].start, words[first + length - 1].end, draw.random()))
    return result


def tidy(text: str) -> str:
    """Without the blanks that a removal leaves: doubled, before a mark, at the end.

    >>> tidy("a  b , c ")
    'a b, c'
    """
    single = re.sub(r"(?<=\S)[ \t]{2,}", " ", text)
    return re.sub(r"[ \t]+(?=[,.;:!?](?:\s|$))", "", single).rstrip(" \t")
