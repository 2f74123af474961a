"""Problems: a prompt, perhaps a worked solution and an answer, and a scorer. TRL's formats in, three splits out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from counterpoint.conversation import (
    Conversation,
    Prompt,
    stored,
    text_of,
)
from counterpoint.data.language import prompted, puzzles, reasoning
from counterpoint.data.language.answer import SCORERS, final_answer, number
from counterpoint.data.language.messages import completion, conversation, refuse_images, simplest
from counterpoint.data.language.problem import Problem
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
    """Three splits of problems and what was noticed while reading them."""

    name: str
    train: Problems
    validation: Problems
    test: Problems
    notes: tuple[str, ...] = ()

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
) -> ProblemData:
    """Load problems.

    Args:
        spec: "reasoning-gym:TASK?size=500&...", a name of ``data.puzzles``, or a path: a JSONL, JSON, CSV, TSV or parquet
            file, a folder with train, validation and test files, or a folder saved by the datasets library.
        prompt, solution, answer, hint: columns, when they do not carry a usual name.
        scorer: "exact", "number", or "auto": number when every answer is one.
        validation, test: shares of a single file (by a hash of the prompt, so that duplicates stay on one side).
        max_characters: leave out longer rows, and say how many; None keeps all.
        delimiter: between the cells of CSV and TSV (comma, tab, semicolon, ...), where it is not found by itself.
        encoding: of text files, such as cp1252, where they are neither UTF-8 nor begin with a byte-order mark.

    Raises:
        CounterpointError: nothing there, a missing column, an empty split, an unknown task or option.
    """
    text = str(spec)
    if text.startswith("reasoning-gym:"):
        return _finish(text, reasoning.load(text), "reasoning-gym", [], max_characters)
    if text.split("?")[0] in puzzles.SCORER:
        return _finish(
            text,
            puzzles.load(text),
            puzzles.SCORER[text.split("?")[0]] if scorer == "auto" else scorer,
            [],
            max_characters,
        )
    path = Path(spec)
    columns = {"prompt": prompt, "solution": solution, "answer": answer, "hint": hint}
    parts, notes = prompted.read(
        path, lambda row, at: _problem(row, columns, path, at), validation, test, delimiter, encoding
    )
    if scorer == "auto":
        answers = [row.answer for rows in parts.values() for row in rows if row.answer]
        numbers = bool(answers) and all(number(final_answer(each)) is not None for each in answers)
        scorer = "number" if numbers else "exact"
    if scorer not in SCORERS:
        raise CounterpointError(f"there is no scorer '{scorer}'; {nearest(scorer, SCORERS)}")
    return _finish(
        path.name,
        {name: [_as(row) for row in rows] for name, rows in parts.items()},
        scorer,
        notes,
        max_characters,
    )


WHOLE = ("messages", "conversations", "conversation")
"""Columns that hold a whole conversation, the assistant's turns among it."""
ALIASES = {
    "prompt": ("prompt", "question", "instruction", "problem", "query", "input"),
    "solution": ("completion", "solution", "rationale", "response", "output", "reasoning", "chosen"),
    "answer": ("answer", "final_answer", "ground_truth", "target", "label"),
    "hint": ("hint", "privileged_context", "privileged"),
}
"""Column names that are understood without being told, in order of preference."""


def _problem(row: dict[str, Any], columns: dict[str, str | None], path: Path, number: int) -> Problem:
    fields: dict[str, Any] = {}
    for part, given in columns.items():
        if given is not None and given not in row:
            raise CounterpointError(
                f"{path}, row {number}: no column '{given}' for {part}; {nearest(given, row)}"
            )
        name = given or next((name for name in ALIASES[part] if row.get(name) not in (None, "")), None)
        fields[part] = row[name] if name else ""
    where = f"{path}, row {number}"
    refuse_images(row, where)
    talk = next((row[name] for name in WHOLE if isinstance(row.get(name), list) and row[name]), None)
    if not fields["prompt"] and talk is not None:
        return replace(_whole(conversation(talk, row, where)), **_texts(fields, where))
    if not fields["prompt"]:
        raise CounterpointError(
            f"{where}: no prompt among the columns {', '.join(map(str, row))}; expected 'prompt' (with "
            "'completion' and 'answer'), 'question' and 'answer', or 'messages'; or name it, e.g. --data-option prompt=text"
        )
    if row.get("instruction") and row.get("input") and fields["prompt"] == row["instruction"]:
        fields["prompt"] = f"{row['instruction']}\n{row['input']}"
    given = fields["prompt"]
    if not isinstance(given, str | list):
        raise CounterpointError(
            f"{where}: a prompt must be text or a list of {{'role': ..., 'content': ...}}, got {type(given).__name__}"
        )
    prompt: Prompt = given if isinstance(given, str) else conversation(given, row, where)
    reply = completion(fields["solution"], where, "the completion")
    texts = _texts(fields, where)
    if "####" in texts["answer"] and not reply:  # worked solution and answer in one column
        reply, texts["answer"] = texts["answer"], final_answer(texts["answer"])
    turns = () if isinstance(reply, str) else tuple(reply)
    return Problem(prompt=prompt, solution=text_of(reply), messages=turns, **texts)


def _texts(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """The columns that are text, whatever form they have."""
    return {part: text_of(completion(fields[part], where, f"the {part}")) for part in ("answer", "hint")}


def _whole(talk: Conversation) -> Problem:
    """A problem from a whole conversation: its last turn of the assistant is the solution, if it ends with one."""
    first = next((at for at, message in enumerate(talk) if message["role"] == "assistant"), None)
    if talk[-1]["role"] != "assistant" or len(talk) < 2 or first is None:
        return Problem(talk)
    last = simplest(talk[-1:])
    return Problem(
        Conversation(talk[:-1], talk.tools, talk.options),
        solution=text_of(last),
        messages=() if isinstance(last, str) else tuple(last),
        opening=first if 0 < first < len(talk) - 1 else None,
    )


def _as(row: Problem) -> Problem:
    return row if row.answer or not row.solution else replace(row, answer=final_answer(row.solution))


def _finish(
    name: str, parts: dict[str, list[Problem]], scorer: str, notes: list[str], max_characters: int | None
) -> ProblemData:
    for split, rows in parts.items():
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
    return ProblemData(name=name, notes=tuple(notes), **splits)


load_problems = load
"""The package's public name of ``load``."""
