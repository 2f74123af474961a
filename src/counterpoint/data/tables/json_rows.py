"""JSON lines and JSON lists of objects. A line ends at a line feed and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from counterpoint.data.tables.encodings import Text
from counterpoint.errors import CounterpointError

Row = dict[str, Any]


class _RepeatedKey(ValueError):
    """An object names a key twice; JSON leaves open which of both values counts."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key[:60]!r} stands twice in one object")


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKey(next(name for name in names if names.count(name) > 1))
    return row


BETWEEN = re.compile(r"[\s,\[]*")
"""What stands before and between the rows of a list."""
DECODER = json.JSONDecoder(object_pairs_hook=_object)
BLOCK = 2**20
"""Bytes of lines that are read at once."""


class JsonRows(NamedTuple):
    """Rows, and [N] the line of each where blank lines lie between them."""

    rows: list[Row]
    lines: np.ndarray | None = None


def read_json(text: Text) -> JsonRows:
    """Rows of a JSON file: a list of objects; or one object a line, as many files called .json are.

    Raises:
        CounterpointError: what is no such thing, with its line.
    """
    data = b"".join(text.blocks()).decode("utf-8")
    try:
        content = DECODER.decode(data)
    except _RepeatedKey as error:
        raise CounterpointError(f"{text.path}, {_where(data)}: {error}; keep one of them") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and data.lstrip().startswith("{"):
            return read_json_lines(text)
        raise CounterpointError(
            f"{text.path}, line {error.lineno}: {error.msg}; expected a list of objects"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CounterpointError(f"{text.path}: {_reason(error)}; expected a list of objects") from None
    if isinstance(content, dict):
        _refuse_columns(content, text.path)
        if "\n" not in data.strip():
            content = [content]
    if not isinstance(content, list):
        raise CounterpointError(
            f"{text.path} must hold a list of objects, one per example; got {_what(content)}"
        )
    for number, row in enumerate(content, 1):
        if not isinstance(row, dict):
            raise CounterpointError(
                f"{text.path} must hold a list of objects, one per example; row {number} is {_what(row)}"
            )
    if "\\ud" in data or "\\uD" in data:
        for number, row in enumerate(content, 1):
            _check_characters(row, text.path, f"row {number}")
    return JsonRows(content)


def read_json_lines(text: Text) -> JsonRows:
    """Rows of a file with one JSON object a line; blank lines are passed over.

    Raises:
        CounterpointError: a line that is no JSON object, with its number.
    """
    rows: list[Row] = []
    lines: list[int] = []
    for number, row in json_lines(text):
        rows.append(row)
        lines.append(number)
    if len(rows) == 1:
        _refuse_columns(rows[0], text.path)
    return JsonRows(rows, np.array(lines) if lines and lines[-1] > len(lines) else None)


def json_lines(text: Text) -> Iterator[tuple[int, Row]]:
    """The same one by one, each with the number of its line."""
    return ((number, row) for number, row, _ in json_lines_at(text))


def json_lines_at(text: Text) -> Iterator[tuple[int, Row, int]]:
    """Number, row, and where in the text its line begins."""
    number, at = 1, 0
    with text.open() as file:
        while block := file.readlines(BLOCK):
            rows = _plain(block)
            for index, line in enumerate(block):
                if rows is not None:
                    yield number + index, rows[index], at
                elif not line.isspace():
                    yield number + index, json_row(line, text.path, number + index), at
                at += len(line)
            number += len(block)


def _plain(block: list[bytes]) -> list[Row] | None:
    """The rows of a block of lines that all hold one; None where any has to be looked at by itself."""
    whole = b"".join(block)
    if b"\\ud" in whole or b"\\uD" in whole:
        return None
    try:
        rows = [DECODER.decode(line) for line in whole.decode("utf-8").removesuffix("\n").split("\n")]
    except (ValueError, RecursionError):
        return None
    return rows if all(type(row) is dict for row in rows) else None


def json_row(line: bytes, path: Path, number: int) -> Row:
    """The object of a line.

    Raises:
        CounterpointError: it is no JSON object; with the line's number.
    """
    try:
        row = DECODER.decode(line.decode("utf-8"))
    except _RepeatedKey as error:
        raise CounterpointError(f"{path}, line {number}: {error}; keep one of them") from None
    except json.JSONDecodeError as error:
        raise CounterpointError(
            f"{path}, line {number}: {error.msg}; expected one JSON object a line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CounterpointError(
            f"{path}, line {number}: {_reason(error)}; expected one JSON object a line"
        ) from None
    if not isinstance(row, dict):
        raise CounterpointError(f"{path}, line {number}: expected a JSON object, got {_what(row)}")
    if b"\\ud" in line or b"\\uD" in line:
        _check_characters(row, path, f"line {number}")
    return row


def _refuse_columns(row: Row, path: Path) -> None:
    """Refuse an object that holds every column as a list, or as an object by row number, as pandas writes tables by default."""
    columns = list(row.values())
    sizes = {len(column) if isinstance(column, dict | list) else 0 for column in columns}
    if len(sizes) != 1 or min(sizes) < 2:
        return
    by_number = all(isinstance(column, dict) and all(map(str.isdigit, column)) for column in columns)
    lists = all(
        isinstance(column, list) and not any(isinstance(cell, dict | list) for cell in column)
        for column in columns
    )
    if by_number or lists:
        raise CounterpointError(
            f"{path} holds columns ({', '.join(map(str, list(row)[:4]))}; {sizes.pop():,} values each), not rows; write one object per "
            "row, with pandas: frame.to_json(FILE, orient='records', lines=True)"
        )


def _where(data: str) -> str:
    """The row of a list whose object names a key twice, read again one row at a time."""
    number, at = 1, _next(data, 0)
    try:
        while True:
            _, at = DECODER.raw_decode(data, at)
            number, at = number + 1, _next(data, at)
    except _RepeatedKey:
        return f"row {number}"
    except ValueError:  # a list among the rows, which comes before it
        return "in a row"


def _next(data: str, at: int) -> int:
    between = BETWEEN.match(data, at)
    return between.end() if between else at


def _check_characters(row: Row, path: Path, where: str) -> None:
    """Half of a surrogate pair can be written in JSON, and is no character."""
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise CounterpointError(
            f"{path}, {where}: holds half of a surrogate pair (\\ud800 to \\udfff), which is no character; mend the text"
        ) from None
    except RecursionError as error:
        raise CounterpointError(f"{path}, {where}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "objects or lists lie too deep in one another"
    return str(error).split(";")[0][:120]


def _what(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
