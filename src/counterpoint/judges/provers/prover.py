"""What a prover is: a statement and a proof to a verdict, by one interface, whoever checks.

Statements and proofs are texts that a model wrote; a prover trusts neither. What it trusts is its theory, a file of the user's.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from counterpoint.errors import CounterpointError
from counterpoint.judges.sandbox import Limits

LIMITS = Limits(seconds=10.0, memory=2 * 2**30, output=2**18)
"""Of one call of an installed prover."""
LONGEST = 20_000
"""Characters of a statement or of a proof; what is longer is refused unread."""
FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Checked:
    """Whether a proof proves its statement, and if not, why not."""

    proved: bool
    why: str = ""


class Prover(Protocol):
    """Checks proofs against a theory.

    Attributes:
        name: how settings name it.
        goal: what a statement is, for the prompt of who writes one.
    """

    name: ClassVar[str]
    goal: ClassVar[str]

    def refused(self, statement: str) -> str:
        """Why a statement cannot be read, as far as that is seen without running anything; empty where it can."""

    def verify_all(self, pairs: Sequence[tuple[str, str]]) -> list[Checked]:
        """Check (statement, proof) pairs, each by itself: no pair sees another or changes its verdict."""


def verify(prover: Prover, statement: str, proof: str) -> bool:
    """Whether a proof proves a statement.

    >>> from counterpoint.judges.provers.rewriting import Rewriting
    >>> verify(Rewriting.of_text("A: ab -> ba"), "aab = baa", "A1 A0")
    True
    """
    return checked(prover, [(statement, proof)])[0].proved


def checked(prover: Prover, pairs: Sequence[tuple[str, str]]) -> list[Checked]:
    """Check pairs; equal ones once, too long ones not at all."""
    readable = list(dict.fromkeys(pair for pair in pairs if max(map(len, pair)) <= LONGEST))
    results = dict(zip(readable, prover.verify_all(readable), strict=True))
    long = Checked(False, f"longer than {LONGEST} characters")
    return [results.get(pair, long) for pair in pairs]


def proof_of(completion: str) -> str:
    """The last fenced block of a completion, or all of it.

    >>> proof_of("by symmetry:\\n```coq\\nauto.\\n```"), proof_of(" auto. ")
    ('auto.', 'auto.')
    """
    blocks = FENCE.findall(completion)
    return (blocks[-1] if blocks else completion).strip()


def theory_text(prover: str, path: Path) -> str:
    """The text of a theory's file.

    Raises:
        CounterpointError: it is not there or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CounterpointError(
            f"{prover}:{path}: the theory cannot be read ({error.__class__.__name__}); expected a text file, e.g. "
            f"--prover {prover}:theory.txt"
        ) from None


def installed(prover: str, program: str, package: str) -> str:
    """The path of an installed program.

    Raises:
        CounterpointError: it is not installed, with the package that brings it.
    """
    path = shutil.which(program)
    if path is None:
        raise CounterpointError(
            f"{prover}: the program '{program}' is not installed; on Debian and Ubuntu: apt-get install {package}"
        )
    return path
