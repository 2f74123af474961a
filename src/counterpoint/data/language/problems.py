"""Problems: a prompt, perhaps a worked solution and an answer, and a scorer. TRL's formats in, three splits out."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from counterpoint.conversation import stored
from counterpoint.data import row_numbers
from counterpoint.data.language import instructions, prompted, puzzles, reasoning
from counterpoint.data.language.answer import SCORERS, answer_kind, final_answer
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problem_rows import parse, read_from
from counterpoint.data.language.reading import AS_IT_COMES, Format, Reading, TooLong
from counterpoint.data.language.stored_rows import Look, StoredRows, hashed
from counterpoint.data.tables import Rows
from counterpoint.errors import CounterpointError, counted, nearest


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
        return bool(self.rows) and bool((LOOK.of(self.rows)["answer"] > 0).all())


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
                facts = LOOK.of(rows)
                lengths = row_numbers.own_sorted(facts["prompt"])
                lines.append(
                    f"{name}: {len(rows)} problems, prompts of {lengths[0]} to {lengths[-1]} characters (median "
                    f"{lengths[len(lengths) // 2]}), {facts['solution'].sum()} with a solution, "
                    f"{(facts['answer'] > 0).sum()} with an answer"
                    + ("; they stay on disk" if isinstance(rows, StoredRows) else "")
                )
        return [*lines, *self.notes]

    def fingerprint(self) -> str:
        """Sha256 of every row, its split and the scorer; of rows on disk, of their files and which they are."""
        digest = hashlib.sha256(self.train.scorer.encode())
        for name in ("train", "validation", "test"):
            rows = getattr(self, name).rows
            if isinstance(rows, StoredRows):
                digest.update(f"{name} {rows.digest()}".encode())
                continue
            for row in rows:
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
    rows: Rows = "auto",
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
        rows: where rows are held: all in "memory", or on "disk", each read when it is needed (JSON lines in UTF-8, Parquet and
            folders of the datasets library); "auto" leaves them on disk from half a gigabyte on.

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
        path,
        lambda row, file, at: _as(parse(row, columns, file, at)),
        validation,
        test,
        delimiter,
        encoding,
        prompted.Held(rows, LOOK, f"problems {columns}", lambda names: read_from(names, columns)),
    )
    if scorer == "auto":
        scorer = _scorer([LOOK.of(part)["answer"] for part in parts.values()], notes)
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


def _scorer(codes: Sequence[np.ndarray], notes: list[str]) -> str:
    """The scorer of answers of one kind, by the [N] codes of ``LOOK`` of each split; "answer", by the kind of each, where they are of
    several."""
    counts = np.sum([row_numbers.counts(part, 2 * INSTRUCTIONS) for part in codes], axis=0)
    if counts[INSTRUCTIONS:].sum() and not counts[1:INSTRUCTIONS].sum():
        return instructions.SCORER
    kinds: Counter[str] = Counter(
        {kind: int(counts[code] + counts[code + INSTRUCTIONS]) for code, kind in enumerate(KINDS) if kind}
    )
    if kinds["math"] and importlib.util.find_spec("math_verify") is None:
        notes.append(
            f"{counted(kinds['math'], 'answer is a formula', 'answers are formulas')}, compared as text: as formulas with pip install 'counterpoint[math]'"
        )
        kinds["exact"] += kinds.pop("math")
    present = [kind for kind, count in kinds.items() if count]
    if len(present) > 1:
        shown = ", ".join(f"{kinds[kind]} as {HOW[kind]}" for kind in HOW if kinds[kind])
        notes.append(f"answers are compared by their kind: {shown}")
        return "answer"
    return present[0] if present else "exact"


def _look(row: Problem) -> tuple[int, int, int, bool, int]:
    key = row.key()
    code = 0
    if row.answer:
        code = KINDS.index(answer_kind(row.answer)) + INSTRUCTIONS * instructions.is_answer(row.answer)
    return hashed(key), len(key), len(key) + len(row.reference), bool(row.solution), code


KINDS = ("", "number", "math", "exact")
"""Kinds of answers by their code in ``LOOK``; a row without an answer has code 0."""
INSTRUCTIONS = len(KINDS)
"""Is added to the code of an answer that holds instructions."""
LOOK: Look[Problem] = Look(
    _look,
    np.dtype([("key", "<u8"), ("prompt", "<i4"), ("size", "<i4"), ("solution", "?"), ("answer", "u1")]),
)
"""Of each problem: its prompt's hash and length, characters with the reference, whether there is a solution, the answer's kind."""
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
    parts: Mapping[str, Sequence[Problem]],
    scorer: str,
    notes: list[str],
    max_characters: int | None,
    reading: Reading,
    judge: str,
) -> ProblemData:
    left: dict[str, Sequence[Problem]] = {}
    keys: dict[str, np.ndarray] = {}
    for split, rows in parts.items():
        if reading.format != "auto":

            def read(row: Problem, at: int, split: str = split) -> Problem:
                where = row.origin or f"{name}, {split}, row {at}"
                return replace(row, prompt=reading.prompt(row.prompt, where))

            rows = prompted.changed(rows, f"format={reading.format}", read, LOOK)
        if max_characters is not None:
            rows = prompted.short_ones(rows, LOOK.of(rows)["size"], max_characters, split, notes)
        left[split], keys[split] = rows, LOOK.of(rows)["key"]
    if not left["train"]:
        raise CounterpointError(
            f"{name}: no training problem is left; raise max_characters or check the file"
        )
    keys["train"] = row_numbers.own_sorted(keys["train"])
    repeated = row_numbers.repeats(keys["train"])
    if repeated:
        notes.append(f"train: {counted(repeated, 'prompt occurs', 'prompts occur')} more than once")
    notes += prompted.overlaps(keys)
    splits = {split: Problems(left.get(split, []), scorer) for split in ("train", "validation", "test")}
    return ProblemData(name=name, notes=tuple(notes), reading=reading, judge=judge, **splits)


load_problems = load
"""The package's public name of ``load``."""
