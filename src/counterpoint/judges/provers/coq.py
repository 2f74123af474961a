"""A prover by Coq: a theory is a preamble of definitions, a statement a proposition, a proof a script of tactics.

Vernacular commands begin with a capital letter or ``#``, tactics do not: a script any of whose sentences begins so, or that has a
string, is refused before Coq sees it. So a proof can load, declare, redirect and extract nothing. What is left runs in isolation,
and what the theorem rests on is printed after it: axioms that the theory does not name itself are not accepted.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from counterpoint.errors import CounterpointError
from counterpoint.judges.provers.confined import Command, run_confined
from counterpoint.judges.provers.prover import LIMITS, Checked, installed, theory_text
from counterpoint.judges.sandbox import Limits, Outcome

DATA = ("/usr/share/coq", "/etc/ocamlfind.conf")
GOAL = "counterpoint_goal"
CLOSED = "Closed under the global context"
END = re.compile(r"\.(?![A-Za-z_(])")
"""A full stop that ends a sentence: within a name, or before a parenthesis, it does not."""
BULLETS = re.compile(r"(?:[\s{}*+-]|(?:\d+(?:\s*[-,]\s*\d+)*|all|par|!|\[\s*[\w']+\s*\])\s*:)+")
"""What may stand before a sentence: bullets, braces, the goals that it is for."""
DECLARED = re.compile(
    r"^\s*(?:Axiom|Parameter|Conjecture|Hypothesis|Variable|Axioms|Parameters)\s+([\w'\s(),:]+)", re.MULTILINE
)
AXIOM = re.compile(r"^([\w.']+)\s*:", re.MULTILINE)


@dataclass(frozen=True)
class Coq:
    """Checks scripts by coqtop, in isolation.

    Attributes:
        path: of the theory. text: of it.
        program: the path of ``coqtop``.
        axioms: names that a proof may rest on: those that the theory itself declares.
        limits: of a call. execute: runs a command; tests give a recorded one.
    """

    path: Path
    text: str
    program: str
    axioms: frozenset[str]
    limits: Limits = LIMITS
    execute: Callable[[Command, Limits], Outcome] = field(default=run_confined, repr=False)
    name: ClassVar[str] = "coq"
    goal: ClassVar[str] = "a proposition, such as forall n : nat, n = n"

    @classmethod
    def open(cls, path: Path) -> Coq:
        """The theory of a file.

        Raises:
            CounterpointError: it is not there, Coq is not, or Coq finds an error in it.
        """
        text = theory_text(cls.name, path)
        prover = cls(path, text, installed(cls.name, "coqtop", "coq"), declared_axioms(text))
        result = prover._run("")
        if result.why:
            raise CounterpointError(
                f"coq:{path}: the theory does not load ({_message(result)}); expected a file "
                "that coqc compiles"
            )
        return prover

    def refused(self, statement: str) -> str:
        """Why a statement cannot be read; empty where it can, as far as that is seen without Coq."""
        text = statement.strip()
        if not text or '"' in text or "(*" in text or END.search(text) or "ltac:" in text.replace(" ", ""):
            return "a statement is one proposition, without strings, comments and full stops"
        return "" if _balanced(text) else "its brackets do not match"

    def verify_all(self, pairs: Sequence[tuple[str, str]]) -> list[Checked]:
        """Check every pair in a process of its own, as many at a time as there are processors."""
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(lambda pair: self._verify(*pair), pairs))

    def _verify(self, statement: str, proof: str) -> Checked:
        problem = self.refused(statement)
        script = tactics(proof)
        if problem or script is None:
            return Checked(
                False, problem or "a proof is tactics: no command, no string, no comment left open"
            )
        result = self._run(
            f"Theorem {GOAL} : (({statement}) : Prop).\nProof.\n{script}\nQed.\nPrint Assumptions {GOAL}.\n"
        )
        if result.why:
            return Checked(False, _message(result))
        lines = result.output.strip().splitlines()
        if lines and lines[-1] == CLOSED:
            return Checked(True)
        _, heading, listed = result.output.rpartition("Axioms:\n")
        used = set(AXIOM.findall(listed))
        if not heading or not used or used - self.axioms:
            return Checked(
                False, f"it rests on {', '.join(sorted(used - self.axioms)) or 'what is not printed'}"[:200]
            )
        return Checked(True)

    def _run(self, text: str) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="counterpoint-coq-") as folder:
            file = Path(folder) / "goal.v"
            file.write_text(f"{self.text}\n{text}", encoding="utf-8")
            words = [self.program, "-q", "-batch", "-l", str(file)]
            return self.execute(Command(words, Path(folder), [Path(each) for each in DATA]), self.limits)


def _message(result: Outcome) -> str:
    """Coq's own words on what is wrong, or why it was stopped."""
    if result.stopped:
        return result.stopped
    return " ".join(result.errors.rpartition("Error:")[2].split())[:200] or result.why


def tactics(proof: str) -> str | None:
    """A script's tactics without comments and without ``Proof.`` and ``Qed.`` around them; None where it holds anything else.

    >>> tactics("Proof. intros (* all *) x. exact (f.g x). Qed.")
    'intros   x. exact (f.g x).'
    >>> print(tactics("auto. Qed. Axiom f : False."), tactics("- Load x."), tactics('idtac "x".'))
    None None None
    """
    text = _without_comments(proof)
    if text is None or '"' in text:
        return None
    text = re.sub(r"\A\s*Proof\s*\.(?=\s)", "", text)
    text = re.sub(r"\b(?:Qed|Defined)\s*\.\s*\Z", "", text).strip()
    if text and not END.search(text[-1:]) and not text.endswith("}"):
        return None
    for sentence in END.split(text):
        first = BULLETS.sub("", sentence, count=1) if BULLETS.match(sentence) else sentence
        if first and not re.match(r"[a-z(\[]", first):
            return None
    return text


def _without_comments(text: str) -> str | None:
    """The text with nested comments as spaces; None where one is left open or closed unopened."""
    depth, rest = 0, []
    for part in re.split(r"(\(\*|\*\))", text):
        if part == "(*":
            depth += 1
        elif part == "*)":
            depth -= 1
            rest.append(" ")
        elif not depth:
            rest.append(part)
        if depth < 0:
            return None
    return None if depth else "".join(rest)


def _balanced(text: str) -> bool:
    """Whether brackets close in the order they open.

    >>> _balanced("(a [b])"), _balanced("a) : Prop). (b")
    (True, False)
    """
    closing, open_ones = {")": "(", "]": "[", "}": "{"}, []
    for letter in text:
        if letter in closing.values():
            open_ones.append(letter)
        elif letter in closing and (not open_ones or open_ones.pop() != closing[letter]):
            return False
    return not open_ones


def declared_axioms(text: str) -> frozenset[str]:
    """Names that a theory declares without proof.

    >>> sorted(declared_axioms("Parameter T : Set.\\nAxioms a b : T."))
    ['T', 'a', 'b']
    """
    plain = _without_comments(text) or ""
    return frozenset(
        name for each in DECLARED.findall(plain) for name in each.partition(":")[0].replace("(", " ").split()
    )
