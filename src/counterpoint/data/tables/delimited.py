"""CSV, TSV and their kin: pyarrow reads them, every cell stays text, and a row that does not fit is named.

A cell in double quotes may hold separators, line ends and doubled quotes, as in RFC 4180.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from counterpoint.data.tables.encodings import Text
from counterpoint.errors import CounterpointError

SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "'|'", "::": "'::'", " ": "space"}
NAMES = {"comma": ",", "tab": "\t", "\\t": "\t", "semicolon": ";", "pipe": "|", "space": " "}
"""How a separator may be spelt on a command line besides being given as it is."""
UNIT = "\x1f"
"""Stands for a separator of two characters while such a file is read: ASCII's own unit separator."""
WIDE, MOST_COLUMNS = 1000, 2**16
"""Columns from which on the second row is looked at first, and the most that a table may have."""
RAGGED = re.compile(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)
"""How Arrow's reader says that a row does not fit."""
QUOTE = ord('"')


@dataclass(frozen=True)
class Delimited:
    """Cells as text: columns f0, f1, ..., every row of the file (also one that names columns), and how they were split."""

    cells: pa.Table
    separator: str
    quoted: bool


class RaggedRow(CounterpointError):
    """A row with more or fewer fields than the first; rows are counted from 1 after the line of column names."""

    def __init__(self, path: Path, line: int, actual: int, expected: int, content: str, mark: str) -> None:
        self.line, self.actual, self.expected = line, actual, expected
        self.content = content if len(content) <= 60 else content[:57] + "..."
        separator = SEPARATORS.get(mark, repr(mark))
        more = actual > expected
        hint = (
            f"put a cell that holds the separator ({separator}) in double quotes, or name the separator: --data-option delimiter=..."
            if more
            else "write an empty field where there is nothing"
        )
        super().__init__(
            f"{path}, row {line - 1}: {'more' if more else 'fewer'} fields than columns, {actual} for {expected}: "
            f"{self.content!r}; {hint}"
        )


def separator_of(given: str) -> str:
    r"""A separator as typed.

    Raises:
        CounterpointError: it is none.

    >>> separator_of("tab"), separator_of(";")
    ('\t', ';')
    """
    separator = NAMES.get(given.lower(), given)
    if separator not in SEPARATORS and (
        len(separator) != 1 or not separator.isascii() or separator.isalnum() or separator in '"\r\n'
    ):
        raise CounterpointError(
            f"delimiter={given!r}; expected comma, tab, semicolon, pipe, space, '::' or another single character"
        )
    return separator


def read_delimited(text: Text, candidates: Sequence[str], one_column: bool = True) -> Delimited:
    """Split a file into cells.

    Args:
        text: the file.
        candidates: separators, likeliest first. The first one with the same number of fields in every row of the file is
            taken; if there is none, the first one's rows are judged.
        one_column: whether a file whose first line holds no separator may be a table of one column.

    Raises:
        CounterpointError: rows of different lengths (the first is named), quotes that do not match, an empty file.
    """
    head = head_of(text)
    likely = [mark for mark in candidates if mark in head]
    first: CounterpointError | None = None
    for mark in likely:
        try:
            return _split(text, mark)
        except CounterpointError as error:
            first = first or error
    if first is not None and (candidates[0] in likely or not one_column):
        raise first
    try:
        return _split(text, candidates[0])
    except CounterpointError as error:
        raise first or error from None


def head_of(text: Text) -> str:
    """The first line that is not blank, without what stands in quotes."""
    with text.open() as file:
        start = file.read(2**16).decode("utf-8", "ignore")
    line = next((line for line in re.split(r"[\r\n]+", start) if line.strip()), "")
    if not line:
        raise CounterpointError(f"{text.path}: the file is empty; expected a line of column names and rows")
    return re.sub(r'"[^"]*"', "", line).strip(" ")


def _split(text: Text, mark: str) -> Delimited:
    """Double quotes enclose cells; in a tab-separated file only where they do so throughout."""
    tab = mark not in (",", ";", "|")
    wanted = any(b'"' in block for block in text.blocks())
    if wanted:
        try:
            check_quotes(text, mark)
        except CounterpointError:
            if not tab:
                raise
            wanted = False  # a tab-separated file may write quotes as they are
    if mark in ("::", " "):
        text, mark_read = _single(text, mark), UNIT
    else:
        mark_read = mark
    return Delimited(_parse(text, mark_read, wanted, mark), mark, wanted)


def _single(text: Text, mark: str) -> Text:
    """Separators of several characters become one character."""
    data = b"".join(text.blocks())
    if UNIT.encode() in data:
        raise CounterpointError(f"{text.path}: holds the control character 0x1f; remove it")
    if mark == "::":
        data = data.replace(b"::", UNIT.encode())
    else:
        data = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", data)
        data = re.sub(rb"[ \t]+", UNIT.encode(), data)
    return Text(text.path, data, note=text.note)


def _parse(text: Text, mark: str, quoted: bool, shown: str) -> pa.Table:
    """All rows; a second pass in one thread names a row that does not fit."""
    width = width_of(text, mark, quoted, shown)
    names = [f"f{number}" for number in range(width)]
    threads, block = True, 2**20
    while True:
        try:
            # Arrow's own files: its threads then need no interpreter, and it passes over a byte-order mark by itself.
            with pa.OSFile(str(text.path)) if text.data is None else pa.BufferReader(text.data) as file:
                return pyarrow.csv.read_csv(
                    file,
                    read_options=pyarrow.csv.ReadOptions(
                        column_names=names, use_threads=threads, block_size=min(block, 2**31 - 1)
                    ),
                    parse_options=pyarrow.csv.ParseOptions(
                        delimiter=mark,
                        quote_char='"' if quoted else False,
                        newlines_in_values=quoted,
                    ),
                    convert_options=pyarrow.csv.ConvertOptions(
                        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                    ),
                )
        except pa.ArrowInvalid as error:
            if "straddling" in str(error) and block <= text.size:
                block = max(2**26, block) if block < 2**26 else text.size + 1
                continue
            # A handler of invalid rows would be asked in Arrow's threads, which then may not end with the interpreter; the message
            # says the same, and names the row where one thread reads.
            wrong = RAGGED.search(str(error))
            if wrong and threads:
                threads = False
                continue
            if not wrong:
                raise CounterpointError(
                    f"{text.path}: no table of cells ({str(error).splitlines()[0][:120]}); expected CSV or TSV text"
                ) from None
            line, expected, actual, content = wrong.groups()
            raise RaggedRow(text.path, int(line or 0), int(actual), int(expected), content, shown) from None


def width_of(text: Text, mark: str, quoted: bool, shown: str) -> int:
    """Number of fields of the first row; a second row of another length is refused before wide columns are built.

    Raises:
        RaggedRow: so. CounterpointError: more columns than any table has, a field without end.
    """
    with text.open() as file:
        lines = io.TextIOWrapper(file, encoding="utf-8", newline="")
        reader = (
            csv.reader(lines, delimiter=mark)
            if quoted
            else csv.reader(lines, delimiter=mark, quoting=csv.QUOTE_NONE)
        )
        try:
            rows = (row for row in reader if row)
            width = len(next(rows, []))
        except csv.Error:
            raise CounterpointError(
                f"{text.path}: the first row holds a field of more than {csv.field_size_limit():,} characters; expected a line of "
                "column names"
            ) from None
        if width > MOST_COLUMNS:
            raise CounterpointError(
                f"{text.path}: the first row has {width:,} fields; expected at most {MOST_COLUMNS:,} columns"
            )
        if width > WIDE:
            try:
                row = next(rows, [""] * width)
            except csv.Error:
                return width
            if len(row) != width:
                raise RaggedRow(text.path, 2, len(row), width, mark.join(row), shown)
    return width


def check_quotes(text: Text, mark: str) -> None:
    """Every quoted cell begins after a separator and ends before one.

    Raises:
        CounterpointError: with the row of the first that does not.
    """
    before = _bytes(mark[-1] + "\r\n")
    after = _bytes(mark[0] + "\r\n")
    odd = False  # whether a quote is open
    for block, last, following in _neighbours(text):
        data = np.frombuffer(block, np.uint8)
        at = np.flatnonzero(data == QUOTE)
        if not len(at):
            continue
        opening = (np.arange(len(at)) % 2 == 0) ^ odd
        odd ^= bool(len(at) % 2)
        left = np.where(at > 0, data[at - 1], last)
        right = np.where(at + 1 < len(data), data[np.minimum(at + 1, len(data) - 1)], following)
        if not (np.where(opening, before[left], after[right])).all():
            return _check_slowly(text, mark)
    if odd:
        _check_slowly(text, mark)
    return None


def _bytes(marks: str) -> np.ndarray:
    """[256] which bytes may stand beside a quote: the marks, and a quote that doubles it."""
    is_mark = np.zeros(256, bool)
    is_mark[[ord(mark) for mark in marks if ord(mark) < 256]] = True
    is_mark[QUOTE] = True
    return is_mark


def _neighbours(text: Text) -> Iterator[tuple[bytes, int, int]]:
    """Blocks with the byte before and after each; a file begins and ends as if with a line end."""
    last, held = ord("\n"), b""
    for block in text.blocks():
        if held:
            yield held, last, block[0]
            last = held[-1]
        held = block
    if held:
        yield held, last, ord("\n")


def _check_slowly(text: Text, mark: str) -> None:
    """The same with Python's reader, which allows a quote inside a cell that none encloses and counts rows."""
    if len(mark) > 1 or mark == " ":
        raise CounterpointError(f"{text.path}: double quotes that do not enclose cells")
    limit = csv.field_size_limit(max(131072, text.size + 1))
    number = 0
    try:
        with text.open() as file:
            lines = io.TextIOWrapper(file, encoding="utf-8", newline="")
            for number, _ in enumerate(csv.reader(lines, delimiter=mark, strict=True), 1):  # noqa: B007
                pass
    except csv.Error as error:
        what = (
            "a cell begins with a double quote that no other closes"
            if "unexpected end" in str(error)
            else "text follows the double quote that closes a cell"
        )
        raise CounterpointError(
            f'{text.path}, row {number}: {what}; write a quote inside a quoted cell twice: ""'
        ) from None
    finally:
        csv.field_size_limit(limit)
