"""A prover by the program ``metamath``: a theory is a database, a proof a sequence of labels in reverse Polish notation.

A statement is an assertion of the database's symbols, "|- ( p -> p )", perhaps after hypotheses, "|- p & |- ( p -> q ) => |- q",
whose labels in the proof are h1, h2. Symbols and labels can hold no ``$``, so that no text leaves its place in the file; disjoint
variables ($d) are only those that a theorem without any may have.

The program (0.195) does not compare the hypotheses of an assertion that has no variable with what a proof gives for them: with
``r $e |- g`` and ``u $a |- k`` it takes any proof for r. A proof that uses such an assertion is refused unread.
"""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from counterpoint.errors import CounterpointError
from counterpoint.judges.provers.confined import Command, run_confined
from counterpoint.judges.provers.prover import LIMITS, Checked, installed, theory_text
from counterpoint.judges.sandbox import Limits, Outcome

COMMENT = re.compile(r"\$\(.*?\$\)", re.DOTALL)
SYMBOLS = re.compile(r"\$[cv]\s(.*?)\$\.", re.DOTALL)
INCLUDE = re.compile(r"\$\[\s*(\S+)\s*\$\]")
LABELS = re.compile(r"(?:[A-Za-z0-9._-]+|\(|\))(?:\s+(?:[A-Za-z0-9._-]+|\(|\)))*", re.ASCII)
AT_ONCE = 256
"""Proofs in one file; where the program fails on it, each is run by itself."""


@dataclass(frozen=True)
class Metamath:
    """Checks proofs by the metamath program, in isolation.

    Attributes:
        path: of the database.
        text: of it. symbols: those it declares.
        program: the path of ``metamath``.
        limits: of a call. execute: runs a command; tests give a recorded one.
        unchecked: labels of assertions whose hypotheses the program does not compare.
    """

    path: Path
    text: str
    symbols: frozenset[str]
    program: str
    limits: Limits = LIMITS
    execute: Callable[[Command, Limits], Outcome] = field(default=run_confined, repr=False)
    unchecked: frozenset[str] = field(default=frozenset(), repr=False)
    name: ClassVar[str] = "metamath"
    goal: ClassVar[str] = "an assertion, such as |- ( p -> p )"

    @classmethod
    def open(cls, path: Path) -> Metamath:
        """The theory of a file.

        Raises:
            CounterpointError: it is not there, the program is not, or the program finds an error in it.
        """
        text = theory_text(cls.name, path)
        program = installed(cls.name, "metamath", "metamath")
        unchecked = without_variables(whole(text, path.parent))
        prover = cls(path, text, symbols_of(text, path.parent), program, unchecked=unchecked)
        result = prover._run(text, ["verify proof *"])
        if "?Error" in result.output or not _finished(result):
            lines = [line for line in result.output.splitlines() if line.startswith("?Error")]
            raise CounterpointError(
                f"metamath:{path}: the database is not valid ({(lines or [result.why or 'no answer'])[0][:200]}); "
                "expected one of which 'verify proof *' reports no error"
            )
        return prover

    def refused(self, statement: str) -> str:
        """Why a statement cannot be read; empty where it can."""
        for part in _parts(statement):
            unknown = [symbol for symbol in part if symbol not in self.symbols]
            if unknown or not part:
                return f"the database has no symbol {unknown[0][:20]!r}" if unknown else "an empty assertion"
        return ""

    def verify_all(self, pairs: Sequence[tuple[str, str]]) -> list[Checked]:
        """Check pairs, many in one run of the program; a run that fails is done again for each by itself."""
        results: list[Checked] = []
        for start in range(0, len(pairs), AT_ONCE):
            results += self._verify_some(pairs[start : start + AT_ONCE])
        return results

    def _verify_some(self, pairs: Sequence[tuple[str, str]]) -> list[Checked]:
        # A name drawn after the proofs were written: none of them can rest on another of the file.
        nonce = "cp" + secrets.token_hex(8)
        results: dict[int, Checked] = {}
        checkable: dict[int, tuple[str, str]] = {}
        for number, (statement, proof) in enumerate(pairs):
            problem = self.refused(statement)
            if not problem and not LABELS.fullmatch(proof.strip()):
                problem = "a proof is labels of the database with spaces between"
            if not problem and (used := self.unchecked & set(proof.split())):
                problem = f"'{min(used)}' has hypotheses and no variable, and the program does not compare those; give it one in the database"
            if problem:
                results[number] = Checked(False, problem)
            else:
                checkable[number] = (statement, proof.strip())
        outcome = self._checked_run(checkable, nonce)
        if outcome is None:  # one of them made the program fail
            for number, pair in checkable.items():
                alone = self._checked_run({number: pair}, nonce)
                results[number] = (alone or {number: Checked(False, "the program did not come to its end")})[
                    number
                ]
        else:
            results |= outcome
        # Errors are read to find what failed; that the rest is proved must be the program's word on a file of these alone.
        proved = {number: checkable[number] for number in checkable if results[number].proved}
        if proved and len(proved) < len(checkable):
            again = self._checked_run(proved, nonce) or {}
            for number in proved:
                results[number] = again.get(number, Checked(False, "not confirmed by a second run"))
        return [results[number] for number in range(len(pairs))]

    def _checked_run(self, pairs: dict[int, tuple[str, str]], nonce: str) -> dict[int, Checked] | None:
        """The verdict on every pair, or None where the program failed; without any error, none may be reported at all."""
        if not pairs:
            return {}
        items = "".join(_theorem(f"{nonce}-{number}", *pair) for number, pair in pairs.items())
        result = self._run(f"{self.text}\n{items}", [f"verify proof {nonce}-*"])
        heading = f"MM> verify proof {nonce}-*"
        if not _finished(result) or heading not in result.output:
            return None
        reading, _, checking = result.output.partition(heading)
        checking = checking.rpartition("MM> exit")[0]
        if "?Error" in reading:
            return None
        failed: dict[int, str] = {}
        for block in checking.split("?Error")[1:]:
            match = re.match(rf'[^"]*"[^"]*" at statement \d+, label "{nonce}-(\d+)"', block)
            if match is None:
                return None
            message = next((line.strip() for line in block.splitlines()[3:] if line.strip(" ^")), "")
            message = message.partition(' Type "SHOW')[0].replace(nonce, "goal")
            failed.setdefault(int(match[1]), message.strip()[:200] or "it does not verify")
        if not failed and checking.split() != [f"{nonce}-{number}" for number in pairs]:
            return None
        return {number: Checked(number not in failed, failed.get(number, "")) for number in pairs}

    def _run(self, text: str, commands: Sequence[str]) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="counterpoint-metamath-") as folder:
            file = Path(folder) / "theory.mm"
            file.write_text(text, encoding="utf-8")
            words = [self.program, "set width 9999", f'read "{file}"', *commands, "exit"]
            reads = [Path(folder)]
            return self.execute(Command(words, self.path.parent.absolute(), reads), self.limits)


def _theorem(label: str, statement: str, proof: str) -> str:
    """One theorem of the file, its hypotheses in a scope of their own; labels are a file's own, h1 becomes LABEL.h1."""
    *given, conclusion = [" ".join(part) for part in _parts(statement)]
    own = {f"h{number}": f"{label}.h{number}" for number in range(1, len(given) + 1)}
    hypotheses = "".join(f"{name} $e {each} $.\n" for name, each in zip(own.values(), given, strict=True))
    steps = " ".join(own.get(word, word) for word in proof.split())
    return f"${{\n{hypotheses}{label} $p {conclusion} $= {steps} $.\n$}}\n"


def _parts(statement: str) -> list[list[str]]:
    """Hypotheses and conclusion, as symbols.

    >>> _parts("|- p & |- q => |- r")
    [['|-', 'p'], ['|-', 'q'], ['|-', 'r']]
    """
    words = statement.split()
    if "=>" not in words:
        return [words]
    cut = words.index("=>")
    given: list[list[str]] = [[]]
    for word in words[:cut]:
        if word == "&":
            given.append([])
        else:
            given[-1].append(word)
    return [*given, words[cut + 1 :]]


def _finished(result: Outcome) -> bool:
    return not result.why and result.output.rstrip().endswith("MM> exit")


def without_variables(text: str) -> frozenset[str]:
    """Labels of assertions that have hypotheses and no variable in them or in what they assert.

    >>> text = "$c |- a b $. $v x $. wx $f |- x $. ${ h $e |- a $. r $a |- b $. $} ${ k $e |- x $. s $a |- b $. $} t $a |- b $."
    >>> sorted(without_variables(text))
    ['r']
    """
    labels: set[str] = set()
    variables: set[str] = set()
    scopes: list[list[list[str]]] = [[]]  # of each open block, the hypotheses
    words = iter(COMMENT.sub(" ", text).split())
    label = ""
    for word in words:
        if word == "${":
            scopes.append([])
        elif word == "$}" and len(scopes) > 1:
            scopes.pop()
        elif word in ("$c", "$v", "$d", "$f", "$e", "$a", "$p"):
            symbols = list(iter(lambda: next(words, "$."), "$."))
            if word == "$v":
                variables.update(symbols)
            elif word == "$e":
                scopes[-1].append(symbols)
            elif word in ("$a", "$p"):
                stated = symbols[: symbols.index("$=")] if "$=" in symbols else symbols
                given = [each for scope in scopes for each in scope]
                if given and not any(variables.intersection(each) for each in (stated, *given)):
                    labels.add(label)
        else:
            label = word
    return frozenset(labels)


def whole(text: str, folder: Path) -> str:
    """A database with the files that it includes in their places."""
    return INCLUDE.sub(
        lambda match: whole(theory_text("metamath", folder / match[1]), folder), COMMENT.sub(" ", text)
    )


def symbols_of(text: str, folder: Path) -> frozenset[str]:
    """The symbols that a database declares, with those of the files it includes.

    >>> sorted(symbols_of("$c |- $( $c no $. $) wff $. $v p $.", Path()))
    ['p', 'wff', '|-']
    """
    parts = SYMBOLS.findall(COMMENT.sub(" ", whole(text, folder)))
    return frozenset(symbol for part in parts for symbol in part.split())
