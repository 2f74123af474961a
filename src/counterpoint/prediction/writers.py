"""Files of answers by their ending, JSON lines, CSV or Parquet: whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from counterpoint.errors import CounterpointError

ENDINGS = (".jsonl", ".csv", ".parquet")
STDOUT = "-"
Answers = Sequence[dict[str, Any]]
Write = Callable[[Answers], None]


def check(out: str | Path) -> None:
    """Refuse what cannot be written before anything is computed.

    Raises:
        CounterpointError: another ending, a folder of that name, no folder to write into.
    """
    path = Path(out)
    if str(out) == STDOUT:
        return
    if path.suffix.lower() not in ENDINGS:
        raise CounterpointError(
            f"out={out} ends in '{path.suffix}'; expected {', '.join(ENDINGS)}, or - for JSON lines on standard output"
        )
    if path.is_dir():
        raise CounterpointError(
            f"out={out} is a folder; expected the name of a file, such as {path / 'answers.jsonl'}"
        )
    if not path.absolute().parent.is_dir():
        raise CounterpointError(
            f"there is no folder {path.parent} to write {path.name} into; make it, or name another"
        )


@contextmanager
def writer(out: str | Path) -> Iterator[Write]:
    """What writes answers, part by part; the file appears when the block ends, and not where it ends in an error.

    Args:
        out: a file that ``check`` lets pass; one that is there is replaced. "-": JSON lines on standard output.
    """
    if str(out) == STDOUT:
        yield lambda answers: _print(answers)
        return
    path = Path(out).absolute()
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    for stale in path.parent.glob(f".{path.name}.*.partial"):  # left by a process that was killed
        stale.unlink(missing_ok=True)
    try:
        with _FORMATS[path.suffix.lower()](aside) as write:
            yield write
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _print(answers: Answers) -> None:
    for answer in answers:
        sys.stdout.write(json.dumps(answer, ensure_ascii=False, default=str) + "\n")


@contextmanager
def _json_lines(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:

        def write(answers: Answers) -> None:
            file.writelines(json.dumps(answer, ensure_ascii=False, default=str) + "\n" for answer in answers)

        yield write


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    """Columns of the first answers; probabilities are ``probability.CLASS``, an embedding ``embedding.0`` and on, other lists JSON."""
    columns: dict[str, None] = {}
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")

        def write(answers: Answers) -> None:
            flat = [flattened(answer) for answer in answers]
            if not columns and flat:
                columns.update({name: None for row in flat for name in row})
                rows.writerow(columns)
            for row in flat:
                _same(row, columns)
                rows.writerow(["" if row.get(name) is None else row[name] for name in columns])

        yield write


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    """Nested columns as they are; their types are those of the first answers."""
    made: list[pyarrow.parquet.ParquetWriter] = []

    def write(answers: Answers) -> None:
        if not answers:
            return
        if not made:
            schema = pa.Table.from_pylist(list(answers)).schema
            fields = [pa.field(f.name, pa.string()) if pa.types.is_null(f.type) else f for f in schema]
            made.append(pyarrow.parquet.ParquetWriter(path, pa.schema(fields)))
        schema = made[0].schema
        for answer in answers:
            _same(answer, dict.fromkeys(schema.names))
        try:
            made[0].write_table(pa.Table.from_pylist(list(answers), schema=schema))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise CounterpointError(
                f"{path.name}: answers of other types than the first ones ({str(error)[:120]}); write JSON lines: --out FILE.jsonl"
            ) from None

    try:
        yield write
        if not made:
            pyarrow.parquet.write_table(pa.table({}), path)
    finally:
        for each in made:
            each.close()


_FORMATS: dict[str, Any] = dict(zip(ENDINGS, (_json_lines, _csv, _parquet), strict=True))


def flattened(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer as cells.

    >>> flattened({"label": "tea", "probabilities": {"tea": 1.0}, "embedding": [0.5, 2.0], "items": [{"item": "a"}]})
    {'label': 'tea', 'probability.tea': 1.0, 'embedding.0': 0.5, 'embedding.1': 2.0, 'items': '[{"item": "a"}]'}
    """
    cells: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, dict) and name == "probabilities":
            cells |= {f"probability.{key}": inner for key, inner in value.items()}
        elif isinstance(value, list) and value and all(isinstance(one, float) for one in value):
            cells |= {f"{name}.{at}": one for at, one in enumerate(value)}
        elif isinstance(value, dict | list):
            cells[name] = json.dumps(value, ensure_ascii=False, default=str)
        else:
            cells[name] = value
    return cells


def _same(row: dict[str, Any], columns: dict[str, None]) -> None:
    other = next((name for name in row if name not in columns), None)
    if other is not None:
        raise CounterpointError(
            f"an answer has '{other}', and the first ones had only {', '.join(list(columns)[:8])}; write JSON lines: --out FILE.jsonl"
        )
