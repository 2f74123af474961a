"""A judge that lets a prover check an answer as the proof of its problem, which is a statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError, nearest
from counterpoint.judges.judge import Verdicts
from counterpoint.judges.provers.coq import Coq
from counterpoint.judges.provers.lean import Lean
from counterpoint.judges.provers.metamath import Metamath
from counterpoint.judges.provers.prover import Prover, checked, proof_of
from counterpoint.judges.provers.rewriting import Rewriting

PROVERS: dict[str, Callable[[Path], Prover]] = {
    "metamath": Metamath.open,
    "coq": Coq.open,
    "lean": Lean.open,
    "rewriting": Rewriting.open,
}


def prover(spec: str) -> Prover:
    """The prover that a setting names, "metamath:FILE.mm", "coq:FILE.v", "lean:FILE.toml" or "rewriting:FILE.txt".

    Raises:
        CounterpointError: no such prover, no file, the program is not installed, a theory that it does not accept.
    """
    name, _, path = spec.partition(":")
    if name not in PROVERS or not path:
        hint = (
            f"expected a file after it, e.g. {name}:theory.mm" if name in PROVERS else nearest(name, PROVERS)
        )
        raise CounterpointError(f"prover={spec}: there is no such prover with its theory; {hint}")
    return PROVERS[name](Path(path))


@dataclass(frozen=True)
class Proved:
    """Reward 1 for a proof of the problem's statement, which is its last message.

    Attributes:
        prover: who checks.
    """

    prover: Prover
    costly: ClassVar[bool] = True

    def score(self, completion: str, problem: Problem) -> float:
        """The reward of one completion."""
        return float(checked(self.prover, [(problem.question.strip(), proof_of(completion))])[0].proved)

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Check every answer; equal ones once."""
        pairs = [
            (problem.question.strip(), proof_of(answer["text"]))
            for problem, row in zip(problems, answers, strict=True)
            for answer in row
        ]
        each = iter(checked(self.prover, pairs))
        rows = [[next(each) for _ in row] for row in answers]
        return Verdicts.of(
            [[float(one.proved) for one in row] for row in rows],
            [[one.why or "proved" for one in row] for row in rows],
        )
