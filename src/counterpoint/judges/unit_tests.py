"""A judge that runs an answer's program on unit tests, in isolation (``sandbox``); what failed is the text of its verdict.

A problem's tests stand where its answer would: statements such as ``assert add(1, 2) == 3``, or a JSON object
``{"inputs": ["1 2"], "outputs": ["3"]}`` for programs that read and write. Statements run in the program's own process: a program
that looks for the checker in its memory can deceive it, one that merely exits or prints cannot. Outputs are compared outside.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges.judge import Verdicts
from counterpoint.judges.sandbox import Limits, run_program

FENCE = re.compile(r"```(?:python|py)?[^\S\n]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


def program(completion: str) -> str:
    """The last fenced block of a completion, or all of it.

    >>> program("so:\\n```python\\nprint(1)\\n```\\ndone")
    'print(1)\\n'
    """
    blocks = FENCE.findall(completion)
    return blocks[-1] if blocks else completion


def run_tests(code: str, tests: str, limits: Limits = Limits()) -> tuple[float, str]:  # noqa: B008
    """Return (the share of tests that passed, what went wrong first or nothing).

    Raises:
        CounterpointError: tests that cannot be read, or no isolation to run in.

    >>> run_tests("def add(a, b): return a + b", "assert add(1, 2) == 3\\nassert add(1, 1) == 3")[0]
    0.5
    """
    if tests.lstrip().startswith("{"):
        return _compare_outputs(code, _cases(tests), limits)
    try:
        compile(tests, "tests", "exec")
    except (SyntaxError, ValueError) as error:
        raise CounterpointError(
            f"these tests are no Python ({error}): {tests[:80]!r}; expected statements such as 'assert add(1, 2) == 3', or "
            '{"inputs": [...], "outputs": [...]}'
        ) from None
    nonce = secrets.token_hex(16)
    outcome = run_program({"code": code, "tests": tests, "nonce": nonce}, limits)
    lines = [line for line in outcome.output.splitlines() if line.startswith(nonce + " ")]
    if outcome.stopped or outcome.status != 0 or len(lines) != 1:
        return 0.0, outcome.why or "the program left before its tests"
    passed, total, problem = json.loads(lines[0][len(nonce) :])
    return (passed / total if total else float(not problem)), problem


def _cases(tests: str) -> list[tuple[str, str]]:
    try:
        given = json.loads(tests)
        pairs = [(str(i), str(o)) for i, o in zip(given["inputs"], given["outputs"], strict=True)]
    except (ValueError, KeyError, TypeError):
        pairs = []
    if not pairs:
        raise CounterpointError(
            f'these tests cannot be read: {tests[:80]!r}; expected {{"inputs": ["1 2"], "outputs": ["3"]}}, as many of each'
        )
    return pairs


def _compare_outputs(code: str, cases: list[tuple[str, str]], limits: Limits) -> tuple[float, str]:
    passed, problem = 0, ""
    for given, wanted in cases:
        outcome = run_program({"code": code, "input": given}, limits)
        right = not outcome.why and _lines(outcome.output) == _lines(wanted)
        passed += right
        if not right and not problem:
            problem = outcome.why or f"on input {given[:60]!r} it wrote {outcome.output[:60]!r}"
    return passed / len(cases), problem


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


@dataclass(frozen=True)
class UnitTests:
    """Reward 1 for a program that passes all of its problem's tests.

    Attributes:
        limits: of each run.
        partly: give the share of tests that passed instead.
    """

    limits: Limits = field(default_factory=Limits)
    partly: bool = False
    costly: ClassVar[bool] = True

    def score(self, completion: str, problem: Problem) -> float:
        """The reward of one completion."""
        return self._verdict(completion, problem)[0]

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Run every answer, as many at a time as there are processors.

        Raises:
            CounterpointError: a problem without tests, tests that cannot be read, no isolation to run in.
        """
        jobs = [(a["text"], p) for p, row in zip(problems, answers, strict=True) for a in row]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            every = iter(list(pool.map(lambda job: self._verdict(*job), jobs)))
        rows: list[list[Any]] = [[next(every) for _ in row] for row in answers]
        return Verdicts.of([[r for r, _ in row] for row in rows], [[text for _, text in row] for row in rows])

    def _verdict(self, completion: str, problem: Problem) -> tuple[float, str]:
        if not problem.answer:
            raise CounterpointError(
                f"the unit tests of '{problem.question[:60]}' are missing; give the data an 'answer' column with statements "
                "such as 'assert add(1, 2) == 3', e.g. --data-option answer=test"
            )
        share, problem_text = run_tests(program(completion), problem.answer, self.limits)
        return (share if self.partly else float(share == 1.0)), problem_text or "all tests passed"
