"""Words that become each other by rules: the rules, a step, a random walk, and problems made of walks.

A text has a rule a line, ``A: ab -> ba``, named by a capital letter; a step ``A3`` rewrites at position 3, ``a3`` from right to left.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError

RULE = re.compile(r"([A-Z])\s*:\s*(\w+)\s*->\s*(\w*)")
LONGEST_WORD = 200


@dataclass(frozen=True)
class Rules:
    """Rules by name.

    Attributes:
        pairs: (left, right) of each.
    """

    pairs: Mapping[str, tuple[str, str]]

    @classmethod
    def of_text(cls, text: str, name: str = "theory") -> Rules:
        """The rules of a text; ``#`` begins a comment.

        Raises:
            CounterpointError: a line that is no rule, a letter twice, no rule at all.
        """
        pairs: dict[str, tuple[str, str]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            line = line.partition("#")[0].strip()
            rule = RULE.fullmatch(line)
            if line and (rule is None or rule[1] in pairs):
                raise CounterpointError(
                    f"rewriting:{name}: line {number} is {line[:60]!r}; expected a rule with a letter of its own, such as 'A: ab -> ba'"
                )
            if rule is not None:
                pairs[rule[1]] = (rule[2], rule[3])
        if not pairs:
            raise CounterpointError(
                f"rewriting:{name}: there is no rule; expected lines such as 'A: ab -> ba'"
            )
        return cls(pairs)

    def rewritten(self, word: str, name: str, position: int) -> str | None:
        """The word after one step; None where the rule does not apply there.

        >>> Rules.of_text("A: ab -> ba").rewritten("cab", "A", 1)
        'cba'
        """
        left, right = self.pairs.get(name.upper(), ("", ""))
        if name.islower():
            left, right = right, left
        if name.upper() not in self.pairs or position > len(word) or not word.startswith(left, position):
            return None
        result = word[:position] + right + word[position + len(left) :]
        return result if len(result) <= LONGEST_WORD else None

    def steps(self, word: str) -> Iterator[tuple[str, str]]:
        """Every step that applies to a word, and the word after it.

        >>> list(Rules.of_text("A: ab -> ba").steps("aba"))
        [('A0', 'baa'), ('a1', 'aab')]
        """
        for name in self.pairs:
            for each in (name, name.lower()):
                for position in range(len(word) + 1):
                    after = self.rewritten(word, each, position)
                    if after is not None:
                        yield f"{each}{position}", after

    def walk(
        self, word: str, count: int, draw: random.Random, shortest: int, longest: int
    ) -> tuple[str, str]:
        """(The word after at most ``count`` random steps that never come back, the steps); words stay within the lengths."""
        visited, steps = {word}, ""
        for _ in range(count):
            ways = [
                (step, after)
                for step, after in self.steps(word)
                if after not in visited and shortest <= len(after) <= longest
            ]
            if not ways:
                break
            step, word = draw.choice(ways)
            visited.add(word)
            steps += step
        return word, steps


WORLD = "A: ab -> ba\nB: bc -> cb\nC: aa -> c\nD: bb -> a"
"""Rules of the problems that are made here; letters change places and melt."""


LENGTHS = 2, 6
"""Shortest and longest word on the way."""


def random_word(draw: random.Random) -> str:
    """Three or four letters."""
    return "".join(draw.choice("abc") for _ in range(draw.randint(3, 4)))


def rewritten_words(digits: int, draw: random.Random) -> Problem:
    """Two words at most ``digits`` + 2 steps apart, and a way from one to the other.

    >>> row = rewritten_words(3, random.Random(0))
    >>> row.prompt, row.solution
    ('babc=bbbaab', 'c3a2d1a4')
    """
    while True:
        word = random_word(draw)
        end, steps = Rules.of_text(WORLD).walk(word, draw.randint(3, digits + 2), draw, *LENGTHS)
        if len(steps) >= 6 and end != word:
            return Problem(prompt=f"{word}={end}", solution=steps, answer=steps)
