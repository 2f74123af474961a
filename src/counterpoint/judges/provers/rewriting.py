"""A prover for words that become each other: a theory is rules, a statement "ab = ba", a proof which rule is used where.

A file has a rule a line, ``A: ab -> ba``, named by a capital letter. A proof's step ``A3`` rewrites at position 3, ``a3`` uses the
rule from right to left. A statement may have parts joined by ``|``, each an equation; a proof of any part proves it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from counterpoint.errors import CounterpointError
from counterpoint.judges.provers.prover import Checked, theory_text

RULE = re.compile(r"([A-Z])\s*:\s*(\w+)\s*->\s*(\w*)")
EQUATION = re.compile(r"\s*(\w+)\s*=\s*(\w+)\s*")
STEP = re.compile(r"([A-Za-z])(\d{1,4})")
LONGEST_WORD = 200
MOST_STEPS = 200


@dataclass(frozen=True)
class Rewriting:
    """Replays rewriting proofs; nothing is run.

    Attributes:
        rules: by name, (left, right).
    """

    rules: Mapping[str, tuple[str, str]]
    name: ClassVar[str] = "rewriting"
    goal: ClassVar[str] = "an equation of two words, such as ab = ba"

    @classmethod
    def open(cls, path: Path) -> Rewriting:
        """The theory of a file.

        Raises:
            CounterpointError: it is not there, or has a line that is no rule.
        """
        return cls.of_text(theory_text(cls.name, path), str(path))

    @classmethod
    def of_text(cls, text: str, name: str = "theory") -> Rewriting:
        """The theory of a text; ``#`` begins a comment."""
        rules: dict[str, tuple[str, str]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            line = line.partition("#")[0].strip()
            match = RULE.fullmatch(line)
            if line and (match is None or match[1] in rules):
                raise CounterpointError(
                    f"rewriting:{name}: line {number} is {line[:60]!r}; expected a rule with a letter of its own, such as 'A: ab -> ba'"
                )
            if match is not None:
                rules[match[1]] = (match[2], match[3])
        if not rules:
            raise CounterpointError(
                f"rewriting:{name}: there is no rule; expected lines such as 'A: ab -> ba'"
            )
        return cls(rules)

    def parts(self, statement: str) -> list[tuple[str, str]]:
        """The equations of a statement; empty where it is none."""
        matches = [EQUATION.fullmatch(part) for part in statement.split("|")]
        return (
            []
            if None in matches
            else [(each[1], each[2]) for each in matches if each and len(each[0]) <= LONGEST_WORD]
        )

    def refused(self, statement: str) -> str:
        """Why a statement cannot be read; empty where it can."""
        return "" if self.parts(statement) else "no equation of words"

    def verify_all(self, pairs: Sequence[tuple[str, str]]) -> list[Checked]:
        """Replay every proof."""
        return [self._replay(statement, proof) for statement, proof in pairs]

    def _replay(self, statement: str, proof: str) -> Checked:
        parts, steps = self.parts(statement), [STEP.fullmatch(word) for word in proof.split()]
        if not parts:
            return Checked(False, "no equation of words")
        if None in steps or len(steps) > MOST_STEPS:
            return Checked(False, "no sequence of steps such as A3 b0")
        why = ""
        for begin, end in parts:
            word: str | None = begin
            for step in steps:
                assert step is not None
                word = None if word is None else self.rewritten(word, step[1], int(step[2]))
            if word == end:
                return Checked(True)
            why = why or ("a step does not apply" if word is None else f"it ends in {word}")
        return Checked(False, why)

    def rewritten(self, word: str, name: str, position: int) -> str | None:
        """The word after one step; None where the rule does not apply there.

        >>> Rewriting.of_text("A: ab -> ba").rewritten("cab", "A", 1)
        'cba'
        """
        left, right = self.rules.get(name.upper(), ("", ""))
        if name.islower():
            left, right = right, left
        if name.upper() not in self.rules or position > len(word) or not word.startswith(left, position):
            return None
        result = word[:position] + right + word[position + len(left) :]
        return result if len(result) <= LONGEST_WORD else None
