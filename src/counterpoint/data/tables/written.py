"""Numbers as people and spreadsheets write them: ``1,000``, ``3,14``, ``1.234,56``, ``1 000``, ``5%``, ``$3``.

A column is read so only where all its cells are written one way, which is then said; where some are and some are not, the
column's reader decides what to tell the person.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from counterpoint.data.tables import cells

MARKED = re.compile(
    r"([+-]?)\s*([$€£¥₹]?)\s*([+-]?)([0-9.,'’  \u00a0\u2009\u202f]*[0-9.](?:[eE][+-]?\d+)?)\s*([%‰$€£¥₹]?)"
)
PLAIN = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d*)?|(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
COMMA = re.compile(r"(\d+|\d{1,3}(\.\d{3})+)(,\d*)?")
GROUPED = re.compile(r"\d{1,3}([  \u00a0\u2009\u202f'’]\d{3})+([.,]\d*)?")
MOST = 100_000
"""Different cells that are looked at, at most: numbers in one way of writing show it in far fewer."""


class Written(NamedTuple):
    """values [N] float64 (NaN where there is none), gaps [N] bool, and how they are written."""

    values: np.ndarray
    gaps: np.ndarray
    note: str


def alike(cell: str) -> bool:
    """Whether a cell is a number in some way of writing.

    >>> [alike(cell) for cell in ("1,000", "5 %", "1.234,5", "$3", "1-2", "v1.0", "1,2,3")]
    [True, True, True, True, False, False, False]
    """
    parts = _parts(cell)
    return parts is not None and any(style.fullmatch(parts[1]) for style in (THOUSANDS, COMMA))


def written(column: pa.ChunkedArray, separator: str = "") -> Written | None:
    """A column of text whose cells are all numbers, in one way of writing that is not Python's own.

    Args:
        column: of text.
        separator: between the cells of its file: where it is a semicolon, "1,234" has a decimal comma, as the spreadsheets that write
            semicolons mean it; elsewhere, where nothing but groups of three digits follows a comma, the comma parts thousands.

    Returns:
        None where the column is otherwise.

    >>> written(pa.chunked_array([["1,000", "25", None]])).values.tolist()[:2]
    [1000.0, 25.0]
    >>> written(pa.chunked_array([["5%", "7.5%"]])).note
    "per cent as they are written: '5%' is 5"
    """
    if not cells.is_text(column):
        return None
    missing = cells.gaps(column, cells.NUMBER_GAPS)
    bare = pc.if_else(pa.array(missing), pa.scalar(None, column.type), pc.utf8_trim_whitespace(column))
    codes, distinct = cells.coded(bare)
    if not distinct or (len(distinct) > MOST and not all(alike(cell) for cell in distinct[:100])):
        return None
    pieces: list[tuple[str, str, str]] = []
    for cell in distinct:
        parts = _parts(cell)
        if parts is None or (pieces and parts[2] != pieces[0][2]):
            return None
        pieces.append(parts)
    bodies = [body for _, body, _ in pieces]
    commas = [body for body in bodies if "," in body]
    as_thousands = all(THOUSANDS.fullmatch(body) for body in bodies)
    as_decimals = all(COMMA.fullmatch(body) for body in bodies)
    if as_thousands and not (as_decimals and commas and separator == ";"):
        numbers, how = [float(body.replace(",", "")) for body in bodies], "commas between thousands"
    elif as_decimals:
        numbers, how = [float(body.replace(".", "").replace(",", ".")) for body in bodies], "decimal commas"
    else:
        return None
    numbers = [
        -number if sign == "-" else number for (sign, _, _), number in zip(pieces, numbers, strict=True)
    ]
    values = np.array([*numbers, np.nan])[codes]
    mark = pieces[0][2]
    odd = next((n for n, body in enumerate(bodies) if not PLAIN.fullmatch(body)), 0)
    notes = [how] if not all(PLAIN.fullmatch(body) for body in bodies) else []
    notes += ["per cent as they are written"] if mark == "%" else [f"without their '{mark}'"] if mark else []
    shown = f"'{distinct[odd]}' is {numbers[odd]:.12g}"
    return Written(values, missing, f"{', '.join(notes) or 'numbers'}: {shown}")


def _parts(cell: str) -> tuple[str, str, str] | None:
    """(sign, digits without blanks between thousands, the one mark beside them) of a cell; None where it is no number."""
    match = MARKED.fullmatch(cell.replace("\u2212", "-").strip())
    if match is None:
        return None
    before, front, after, body, end = match.groups()
    if (before and after) or (front and end):
        return None
    body = body.strip()
    if GROUPED.fullmatch(body):
        body = re.sub(r"[  \u00a0\u2009\u202f'’]", "", body)
    return before or after, body, front or end
