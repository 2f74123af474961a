"""A prover by Lean 4 through its REPL (JSON lines to a process that stays): a theory is a file that says how to start it.

A statement is what stands after a theorem's name, ``(p : Prop) : p → p``, a proof the tactics after ``:= by``. Accepted is what has no
error, no ``sorry`` and no warning of one, and rests on Lean's three axioms alone. Words that begin a command or run a program are
refused unread; the process is confined; and after every answer it must answer a question that nobody could know before, so that
an answer written by a proof is noticed.
"""

from __future__ import annotations

import json
import re
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from counterpoint.errors import CounterpointError
from counterpoint.judges.provers.confined import Command
from counterpoint.judges.provers.conversation import Conversing, Silent
from counterpoint.judges.provers.prover import Checked, installed, theory_text
from counterpoint.judges.sandbox import Limits

GOAL = "counterpoint_goal"
AXIOMS = frozenset({"propext", "Classical.choice", "Quot.sound"})
REFUSED = re.compile(
    r"@\[|#[A-Za-z]|\b(?:sorry|admit|axiom|constant|opaque|unsafe|partial|macro|macro_rules|syntax|declare_syntax_cat|elab|elab_rules|"
    r"by_elab|notation|notation3|infix|infixl|infixr|prefix|postfix|run_cmd|run_tac|run_elab|run_meta|initialize|"
    r"builtin_initialize|implemented_by|extern|export|import|open|namespace|section|end|theorem|lemma|def|abbrev|example|"
    r"instance|structure|inductive|class|deriving|variable|universe|mutual|attribute|set_option|include|omit|native_decide|"
    r"ofReduceBool|IO|Lean|unsafeCast|dbg_trace|simproc|register_\w+)\b"
)
RESTART = 500
"""Proofs that one process checks: what it holds grows with every environment."""


@dataclass
class Lean:
    """Checks proofs by a REPL.

    Attributes:
        command: how to start it, and what it may read.
        header: imports and openings, sent once to a process.
        limits: seconds of an answer, memory of the process, bytes of an answer.
    """

    command: Command
    header: str
    limits: Limits
    name: ClassVar[str] = "lean"
    goal: ClassVar[str] = "what follows a theorem's name, such as (p : Prop) : p → p"
    _process: Conversing | None = field(default=None, init=False, repr=False)
    _environment: int | None = field(default=None, init=False, repr=False)
    _answered: int = field(default=0, init=False, repr=False)

    @classmethod
    def open(cls, path: Path) -> Lean:
        """The prover that a TOML file describes.

        ``command`` (words), ``folder`` where it starts, ``reads`` (more folders, such as the toolchain's), ``environment`` (a
        table, such as LEAN_PATH), ``header``, ``seconds`` (200), ``memory`` in GiB (16).

        Raises:
            CounterpointError: no such file, a setting that is not one, a program that is not there.
        """
        try:
            given = tomllib.loads(theory_text(cls.name, path))
        except tomllib.TOMLDecodeError as error:
            raise CounterpointError(
                f'lean:{path}: this is no TOML ({error}); expected lines such as command = ["/opt/repl/.lake/build/bin/repl"]'
            ) from None
        names = {"command", "folder", "reads", "environment", "header", "seconds", "memory"}
        words = given.get("command")
        if set(given) - names or not isinstance(words, list) or not words:
            raise CounterpointError(
                f"lean:{path}: it has {', '.join(sorted(given)) or 'nothing'}; expected command, and perhaps "
                f"{', '.join(sorted(names - {'command'}))}"
            )
        program = installed(cls.name, str(words[0]), "elan, then 'lake build' in a checkout of Lean's repl")
        folder = (path.parent / str(given.get("folder", "."))).resolve()
        command = Command(
            [program, *map(str, words[1:])],
            folder,
            [Path(each) for each in given.get("reads", [])],
            {str(key): str(value) for key, value in given.get("environment", {}).items()},
        )
        limits = Limits(
            float(given.get("seconds", 200.0)), int(float(given.get("memory", 16)) * 2**30), 2**20
        )
        return cls(command, str(given.get("header", "")), limits)

    def refused(self, statement: str) -> str:
        """Why a statement cannot be read; empty where it can, as far as that is seen without Lean."""
        text = bare(statement)
        match = REFUSED.search(text)
        if match:
            return f"'{match[0]}' may not stand in a statement"
        if ":=" in text or '"' in text or ":" not in text:
            return "a statement is what stands after a theorem's name, with its colon and without ':='"
        return ""

    def verify_all(self, pairs: Sequence[tuple[str, str]]) -> list[Checked]:
        """Check pairs one after another; each begins from the header's environment."""
        try:
            return [self._verify(*pair) for pair in pairs]
        finally:
            self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
        self._process, self._environment, self._answered = None, None, 0

    def _verify(self, statement: str, proof: str) -> Checked:
        problem = self.refused(statement)
        match = REFUSED.search(proof)
        if problem or match or '"' in proof:
            return Checked(
                False, problem or f"'{match[0] if match else 'a string'}' may not stand in a proof"
            )
        body = "\n".join(
            "  " + line for line in re.sub(r"\A\s*(?::=)?\s*by\b", "", proof).strip("\n").splitlines()
        )
        text = f"theorem {GOAL} {bare(statement)} := by\n{body}\n\n#print axioms {GOAL}"
        if self._answered >= RESTART:
            self.close()
        try:
            process = self._started()
            answer = process.ask({"cmd": text, "env": self._environment} if self.header else {"cmd": text})
            nonce = secrets.token_hex(16)
            echoed = process.ask({"cmd": f'#eval "{nonce}"'})
        except Silent as silent:
            self.close()
            return Checked(False, str(silent))
        self._answered += 1
        if not any(nonce in str(each.get("data", "")) for each in messages(echoed)):
            self.close()
            return Checked(False, "an answer came that Lean did not write")
        return verdict(answer)

    def _started(self) -> Conversing:
        if self._process is None:
            self._process = Conversing(self.command, self.limits)
            if self.header:
                answer = self._process.ask({"cmd": self.header})
                errors = [each for each in messages(answer) if each.get("severity") == "error"]
                if errors or not isinstance(answer.get("env"), int):
                    text = str(errors[0].get("data") if errors else json.dumps(answer))[:200]
                    raise CounterpointError(
                        f"lean: the header does not load ({text}); expected imports and openings that do"
                    )
                self._environment = answer["env"]
        return self._process


def bare(statement: str) -> str:
    """A statement without ``theorem NAME`` before it and ``:= by sorry`` after it.

    >>> bare("theorem add_zero (n : Nat) : n + 0 = n := by sorry")
    '(n : Nat) : n + 0 = n'
    """
    text = re.sub(r"\A\s*(?:theorem|lemma)\s+[\w.'«»]+\s*", "", statement)
    return re.sub(r"\s*:=\s*(?:by)?\s*(?:sorry)?\s*\Z", "", text).strip()


def messages(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of an answer, errors of the REPL itself among them."""
    every = [each for each in answer.get("messages", []) if isinstance(each, dict)]
    return [*every, {"severity": "error", "data": answer["message"]}] if "message" in answer else every


def verdict(answer: dict[str, Any]) -> Checked:
    """What an answer says of a proof, ``#print axioms`` at its end.

    >>> verdict({"messages": [{"severity": "info", "data": "'counterpoint_goal' does not depend on any axioms"}], "env": 1})
    Checked(proved=True, why='')
    """
    every = messages(answer)
    for each in every:
        data, severity = str(each.get("data", "")), each.get("severity")
        if severity == "error" or (
            severity == "warning" and ("declaration uses 'sorry'" in data or "failed" in data)
        ):
            return Checked(False, " ".join(data.split())[:200] or "an error")
    if answer.get("sorries"):
        return Checked(False, "a part is left out by 'sorry'")
    last = " ".join(str(every[-1].get("data", "")).split()) if every else ""
    if last == f"'{GOAL}' does not depend on any axioms":
        return Checked(True)
    match = re.fullmatch(rf"'{GOAL}' depends on axioms: \[([^\]]*)\]", last)
    if match is None:
        return Checked(False, "what it rests on was not printed")
    more = {name.strip() for name in match[1].split(",")} - AXIOMS
    return Checked(not more, f"it rests on {', '.join(sorted(more))}" if more else "")
