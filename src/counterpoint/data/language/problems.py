"""Problems: a prompt, perhaps a worked solution and an answer, and a scorer. TRL's formats in, three splits out."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from counterpoint.conversation import stored
from counterpoint.data.language import instructions, prompted, puzzles, reasoning
from counterpoint.data.language.answer import SCORERS, answer_kind, final_answer
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problem_rows import parse
from counterpoint.data.language.reading import AS_IT_COMES, Format, Reading, TooLong
from counterpoint.errors import CounterpointError, nearest


class Problems(prompted.PromptedRows[Problem]):
    """One split: problems by index, by slice, or by an index tensor (then a list).

    >>> split = Problems([Problem("1+1=", answer="2"), Problem("2+2=", answer="4")], "number")
    >>> len(split), split[1].answer, split.scorer
    (2, '4', 'number')
    """

    def __init__(self, rows: Iterable[Problem], scorer: str) -> None:
        super().__init__(rows)
        self.scorer = scorer

    @property
    def scored(self) -> bool:
        """Whether every problem has an answer to compare with."""
        return bool(self.rows) and all(row.answer for row in self.rows)


@dataclass(frozen=True)
class ProblemData:
    """Three splits of problems and what was noticed while reading them.

    Attributes:
        notes: of what was noticed. reading: how a model is to read them.
        judge: what marks replies to prompts without an answer when they are measured, by its name in ``judges.choose``.
    """

    name: str
    train: Problems
    validation: Problems
    test: Problems
    notes: tuple[str, ...] = ()
    reading: Reading = AS_IT_COMES
    judge: str = ""

    def describe(self) -> list[str]:
        """What was understood, one line each."""
        lines = [f"{self.name}: problems, scored by '{self.train.scorer}'"]
        for name in ("train", "validation", "test"):
            rows = getattr(self, name).rows
            if rows:
                lengths = sorted(len(row.key()) for row in rows)
                lines.append(
                    f"{name}: {len(rows)} problems, prompts of {lengths[0]} to {lengths[-1]} characters (median "
                    f"{lengths[len(lengths) // 2]}), {sum(bool(row.solution) for row in rows)} with a solution, "
                    f"{sum(bool(row.answer) for row in rows)} with an answer"
                )
        return [*lines, *self.notes]

    def fingerprint(self) -> str:
        """Sha256 of every row, its split and the scorer."""
        digest = hashlib.sha256(self.train.scorer.encode())
        for name in ("train", "validation", "test"):
            for row in getattr(self, name):
                content = [name, stored(row.prompt), row.solution, row.answer, row.hint]
                content += (
                    [list(row.messages), row.opening] if row.messages or row.opening is not None else []
                )
                content += [row.meta[name] for name in ("rationales", "dataset") if name in row.meta]
                digest.update(json.dumps(content, sort_keys=True).encode())
        return digest.hexdigest()


def load(
    spec: str | Path,
    *,
    prompt: str | None = None,
    solution: str | None = None,
    answer: str | None = None,
    hint: str | None = None,
    scorer: str = "auto",
    validation: float = 0.1,
    test: float = 0.1,
    max_characters: int | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    format: Format = "auto",
    template: str = "",
    max_length: int | None = None,
    too_long: TooLong = "drop",
    judge: str = "",
) -> ProblemData:
    """Load problems.

    Args:
        spec: "reasoning-gym:TASK?size=500&...", a name of ``data.puzzles``, or a path: a JSONL, JSON, CSV, TSV or parquet
            file, a folder with train, validation and test files, or a folder saved by the datasets library.
        prompt, solution, answer, hint: columns, when they do not carry a usual name.
        scorer: "exact", "number", "math" (the same formula), "choice" (the same option), "tests" (the answers are unit tests),
            "instructions" (columns ``instruction_id_list`` and ``kwargs``, as IFEval has them), or
            "auto": by value where answers are numbers, as formulas, or as text, each by its kind where a file mixes them.
        validation, test: shares of a single file (by a hash of the prompt, so that duplicates stay on one side).
        max_characters: leave out longer rows, and say how many; None keeps all.
        delimiter: between the cells of CSV and TSV (comma, tab, semicolon, ...), where it is not found by itself.
        encoding: of text files, such as cp1252, where they are neither UTF-8 nor begin with a byte-order mark.
        format: how a prompt that is text is read: "chat" as a turn of the user, "text" as it stands, "auto" as a turn where the
            model has a chat template that the text does not carry already.
        template: chat template for a model without one: "chatml", "roles" or a .jinja file.
        max_length: longest row in tokens, prompt and completion together; without it, what the model's positions hold.
        too_long: whether longer rows are left out ("drop") or cut at their end ("truncate").
        judge: what marks replies to prompts that have no answer, when they are measured: a reward function ("rewards.py:brevity"),
            "scored:FOLDER", "rated:MODEL" or "format:PATTERN".

    Raises:
        CounterpointError: nothing there, a missing column, an empty split, an unknown task or option.
    """
    text, reading = str(spec), Reading(format, template, max_length, too_long)
    if text.startswith("reasoning-gym:"):
        return _finish(text, reasoning.load(text), "reasoning-gym", [], max_characters, reading, judge)
    if text.split("?")[0] in puzzles.SCORER:
        return _finish(
            text,
            puzzles.load(text),
            puzzles.SCORER[text.split("?")[0]] if scorer == "auto" else scorer,
            [],
            max_characters,
            reading,
            judge,
        )
    path = Path(spec)
    columns = {"prompt": prompt, "solution": solution, "answer": answer, "hint": hint}
    parts, notes = prompted.read(
        path, lambda row, file, at: parse(row, columns, file, at), validation, test, delimiter, encoding
    )
    parts = {name: [_as(row) for row in rows] for name, rows in parts.items()}
    if scorer == "auto":
        scorer = _scorer([row.answer for rows in parts.values() for row in rows if row.answer], notes)
    if scorer not in SCORERS:
        raise CounterpointError(f"there is no scorer '{scorer}'; {nearest(scorer, SCORERS)}")
    return _finish(
        path.name,
        parts,
        scorer,
        notes,
        max_characters,
        reading,
        judge,
    )


def _scorer(answers: list[str], notes: list[str]) -> str:
    """The scorer of answers of one kind; "answer", by the kind of each, where they are of several."""
    if answers and all(map(instructions.is_answer, answers)):
        return instructions.SCORER
    kinds: Counter[str] = Counter(answer_kind(answer) for answer in answers)
    if kinds["math"] and importlib.util.find_spec("math_verify") is None:
        notes.append(
            f"{kinds['math']} answers are formulas, compared as text: as formulas with pip install 'counterpoint[math]'"
        )
        kinds["exact"] += kinds.pop("math")
    present = [kind for kind, count in kinds.items() if count]
    if len(present) > 1:
        counts = ", ".join(f"{kinds[kind]} as {HOW[kind]}" for kind in HOW if kinds[kind])
        notes.append(f"answers are compared by their kind: {counts}")
        return "answer"
    return present[0] if present else "exact"


HOW = {"number": "numbers", "math": "formulas", "exact": "text"}
"""Kinds of answers in words."""


def _as(row: Problem) -> Problem:
    return (
        row
        if row.answer or not row.solution or not row.prompt
        else replace(row, answer=final_answer(row.solution))
    )


def _finish(
    name: str,
    parts: dict[str, list[Problem]],
    scorer: str,
    notes: list[str],
    max_characters: int | None,
    reading: Reading,
    judge: str,
) -> ProblemData:
    for split, rows in parts.items():
        if reading.format != "auto":
            where = [row.origin or f"{name}, {split}, row {at}" for at, row in enumerate(rows, 1)]
            rows = [replace(row, prompt=reading.prompt(row.prompt, at)) for row, at in zip(rows, where)]
        size = lambda row: len(row.key()) + len(row.reference)  # noqa: E731
        parts[split] = prompted.short_ones(rows, size, max_characters, split, notes)
    if not parts["train"]:
        raise CounterpointError(
            f"{name}: no training problem is left; raise max_characters or check the file"
        )
    seen = Counter(row.key() for row in parts["train"])
    repeated = sum(count - 1 for count in seen.values())
    if repeated:
        notes.append(f"train: {repeated} prompts occur more than once")
    notes += prompted.overlaps(parts)
    splits = {split: Problems(parts.get(split, []), scorer) for split in ("train", "validation", "test")}
    return ProblemData(name=name, notes=tuple(notes), reading=reading, judge=judge, **splits)


load_problems = load
"""The package's public name of ``load``."""
