"""A prover for words that become each other: a theory is rules, a statement "ab = ba", a proof which rule is used where.

A file has a rule a line, ``A: ab -> ba``, named by a capital letter. A proof is steps, ``A3b0``: ``A3`` rewrites at position 3, ``b0`` uses a
rule from right to left. A statement may have parts joined by ``|``, each an equation; a proof of any part proves it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from counterpoint.data.language.rewriting import LONGEST_WORD, Rules
from counterpoint.judges.provers.prover import Checked, theory_text

EQUATION = re.compile(r"\s*(\w+)\s*=\s*(\w+)\s*")
STEP = re.compile(r"([A-Za-z])(\d{1,4})")
STEPS = re.compile(r"(?:[A-Za-z]\d{1,4}\s*)*")
MOST_STEPS = 200


@dataclass(frozen=True)
class Rewriting:
    """Replays rewriting proofs; nothing is run.

    Attributes:
        rules: of the theory.
    """

    rules: Rules
    name: ClassVar[str] = "rewriting"
    goal: ClassVar[str] = "an equation of two words, such as ab = ba"

    @classmethod
    def open(cls, path: Path) -> Rewriting:
        """The theory of a file; or, where it is rules itself, "A: ab -> ba; B: aa -> b", these.

        Raises:
            CounterpointError: it is not there, or has a line that is no rule.
        """
        if "->" in str(path):
            return cls.of_text(str(path).replace(";", "\n"))
        return cls.of_text(theory_text(cls.name, path), str(path))

    @classmethod
    def of_text(cls, text: str, name: str = "theory") -> Rewriting:
        """The theory of a text; ``#`` begins a comment."""
        return cls(Rules.of_text(text, name))

    def parts(self, statement: str) -> list[tuple[str, str]]:
        """The equations of a statement; empty where it is none."""
        matches = [EQUATION.fullmatch(part) for part in statement.split("|")]
        if None in matches:
            return []
        return [(each[1], each[2]) for each in matches if each and len(each[0]) <= LONGEST_WORD]

    def refused(self, statement: str) -> str:
        """Why a statement cannot be read; empty where it can."""
        return "" if self.parts(statement) else "no equation of words"

    def verify_all(self, pairs: Sequence[tuple[str, str]]) -> list[Checked]:
        """Replay every proof."""
        return [self._replay(statement, proof) for statement, proof in pairs]

    def _replay(self, statement: str, proof: str) -> Checked:
        parts, steps = self.parts(statement), STEP.findall(proof)
        if not parts:
            return Checked(False, "no equation of words")
        if not STEPS.fullmatch(proof.strip()) or len(steps) > MOST_STEPS:
            return Checked(False, "no sequence of steps such as A3 b0")
        why = ""
        for begin, end in parts:
            word: str | None = begin
            for name, position in steps:
                word = None if word is None else self.rules.rewritten(word, name, int(position))
            if word == end:
                return Checked(True)
            why = why or ("a step does not apply" if word is None else f"it ends in {word}")
        return Checked(False, why)
