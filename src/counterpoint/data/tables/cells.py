"""What cells mean: gaps and the words for them, numbers, whole numbers that arrived as 3.0, times."""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

GAPS = (
    "",
    "NA",
    "N/A",
    "n/a",
    "<NA>",
    "#N/A",
    "#NA",
    "NaN",
    "nan",
    "NAN",
    "-nan",
    "-NaN",
    "null",
    "NULL",
    "Null",
    "None",
)
"""Words for a missing value wherever cells are text: what spreadsheets, R, SQL, Python and pandas write."""
NUMBER_GAPS = (
    *GAPS,
    "na",
    "none",
    "NONE",
    "?",
    "-",
    "--",
    ".",
    "N.A.",
    "n.a.",
    "#DIV/0!",
    "#VALUE!",
    "#NUM!",
    "#REF!",
)
"""Words for a missing number: there, nothing else can be meant."""
LONG = 64
"""Bytes from which on a cell is no word for a missing value."""
MARKS = ("?", "-")
"""Missing as a class, too, unless other classes are single signs such as "+"."""


def is_text(column: pa.ChunkedArray) -> bool:
    """Whether a column's type is text."""
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def gaps(column: pa.ChunkedArray, words: Sequence[str] = GAPS) -> np.ndarray:
    """[N] bool: cells that are empty, null, NaN or, in a column of text, a word for it.

    >>> gaps(pa.chunked_array([["a", " NA", None]])).tolist()
    [False, True, True]
    """
    missing = pc.is_null(column, nan_is_null=True).to_numpy()
    if not is_text(column):
        return missing
    if column.nbytes > LONG * len(column):  # of long texts no copy is made only to look at the short ones
        short = np.flatnonzero(pc.fill_null(pc.less(pc.binary_length(column), LONG), False).to_numpy())
        missing = missing.copy()
        missing[short] |= _are_words(column.take(pa.array(short)), words)
        return missing
    return missing | _are_words(column, words)


def _are_words(column: pa.ChunkedArray, words: Sequence[str]) -> np.ndarray:
    return pc.is_in(pc.utf8_trim_whitespace(column), value_set=pa.array(words, column.type)).to_numpy()


def class_gaps(column: pa.ChunkedArray) -> tuple[str, ...]:
    """Words for a missing class in this column: "-" and "?" are classes where "+" or "!" is one.

    >>> "-" in class_gaps(pa.chunked_array([["+", "-"]])), "?" in class_gaps(pa.chunked_array([["pos", "?"]]))
    (False, True)
    """
    classes = {str(value).strip() for value in pc.unique(column).to_pylist() if value is not None}
    signs = {name for name in classes if len(name) == 1 and not name.isalnum()}
    return GAPS if signs - set(MARKS) else (*GAPS, *MARKS)


def numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A column as float64.

    Returns:
        values [N] (NaN where there is none), gaps [N] bool, and wrong [N] bool: cells that are neither a number nor a gap.

    >>> values, gap, wrong = numbers(pa.chunked_array([["1", "?", "x"]]))
    >>> values.tolist()[0], gap.tolist(), wrong.tolist()
    (1.0, [False, True, False], [False, False, True])
    """
    wrong = np.zeros(len(column), bool)
    if is_text(column):
        try:  # nearly always every cell is a number
            values = pc.cast(column, pa.float64()).to_numpy()
            return values, np.isnan(values), wrong
        except pa.ArrowInvalid:
            return _of_text(column, gaps(column, NUMBER_GAPS))
    missing = gaps(column, NUMBER_GAPS)
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_temporal(kind):
        return seconds(column), missing, wrong
    elif pa.types.is_null(kind):
        return np.full(len(column), np.nan), missing, wrong
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return np.full(len(column), np.nan), missing, ~missing
    values = pc.cast(column, pa.float64(), safe=False).to_numpy()
    return np.where(missing, np.nan, values), missing, wrong


def _of_text(column: pa.ChunkedArray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wrong = np.zeros(len(column), bool)
    bare = pc.if_else(pa.array(missing), pa.scalar(None, column.type), pc.utf8_trim_whitespace(column))
    try:
        return pc.cast(bare, pa.float64()).to_numpy(), missing, wrong
    except pa.ArrowInvalid:
        pass
    codes, distinct = coded(bare)
    numbers = [_number(cell) for cell in distinct]
    values = np.array([math.nan if one is None else one for one in (*numbers, None)])[codes]
    odd = np.array([one is None for one in (*numbers, 0.0)])[codes]
    return values, missing, odd & ~missing


def coded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[Any]]:
    """[N] int64 positions in the list of the column's different values, -1 for null, and that list.

    >>> coded(pa.chunked_array([["b", None, "a", "b"]]))
    (array([ 0, -1,  1,  0]), ['b', 'a'])
    """
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.to_pylist()


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def leading_zeros(column: pa.ChunkedArray) -> bool:
    """Whether whole numbers begin with a zero: codes such as "007", which are names."""
    return is_text(column) and bool(pc.any(pc.match_substring_regex(column, r"^\s*0\d+\s*$")).as_py())


def whole(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, bool]:
    """Names of classes or things as text: whole numbers that arrived as 3.0 lose their ".0", where all are whole.

    Returns:
        The column as text, trimmed, and whether something like "3.0" was in it.

    >>> whole(pa.chunked_array([["3.0", "4", None]]))[0].to_pylist()
    ['3', '4', None]
    """
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        if pc.all(pc.equal(column, pc.floor(column))).as_py() is not False and _fits(column):
            return column.cast(pa.int64()).cast(pa.string()), len(column) > 0
        return column.cast(pa.string()), False
    if pa.types.is_boolean(column.type) or not is_text(column):
        return column.cast(pa.string()), False
    bare = pc.utf8_trim_whitespace(column)
    if not pc.any(pc.match_substring(bare, ".0")).as_py():
        return bare, False
    given = ~gaps(bare, (*GAPS, *MARKS))
    dotted = pc.fill_null(pc.match_substring_regex(bare, r"^-?\d+\.0+$"), False).to_numpy()
    if not (dotted & given).any():
        return bare, False
    plain = pc.fill_null(pc.match_substring_regex(bare, r"^-?\d+(\.0+)?$"), False).to_numpy()
    if not plain[given].all():
        return bare, False
    return pc.replace_substring_regex(bare, r"^(-?\d+)\.0+$", r"\1"), True


def _fits(column: pa.ChunkedArray) -> bool:
    most = pc.max(pc.abs(column)).as_py()
    return most is None or most < 2**63


def seconds(column: pa.ChunkedArray) -> np.ndarray:
    """[N] times, dates and durations as float64 seconds, NaN where there is none; times without a zone are UTC."""
    kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"), safe=False)
        kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        size = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        ticks = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
        whole_ticks = column.cast(size)
        missing = pc.is_null(whole_ticks).to_numpy()
        exact = pc.fill_null(whole_ticks, 0).to_numpy().astype(np.float64)
        return np.where(missing, np.nan, exact / ticks)
    return np.full(len(column), np.nan)


def times(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A column of times as float64 seconds: numbers as they are, ISO 8601 with or without zone and fraction.

    Returns:
        values [N], gaps [N] bool, wrong [N] bool; as ``numbers``.

    >>> times(pa.chunked_array([["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.5"]]))[0].tolist()
    [0.0, 0.5]
    """
    values, missing, wrong = numbers(column)
    if not wrong.any() or not is_text(column):
        return values, missing, wrong
    bare = pc.if_else(pa.array(missing), pa.scalar(None, column.type), pc.utf8_trim_whitespace(column))
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return seconds(pc.cast(bare, kind)), missing, np.zeros(len(column), bool)
        except pa.ArrowInvalid:
            continue
    # Mixed ways of writing: one at a time. A number among dates is wrong, whatever it may count.
    moments = [
        None if gap else _time(cell) for gap, cell in zip(missing.tolist(), bare.to_pylist(), strict=True)
    ]
    values = np.array([math.nan if one is None else one for one in moments])
    return values, missing, np.isnan(values) & ~missing


def without_zone(column: pa.ChunkedArray) -> int:
    """How many times of a column have no zone, where others have one.

    >>> without_zone(pa.chunked_array([["2024-01-31T10:00Z", "2024-01-31T10:00+05:30", "2024-01-31 10:00", None]]))
    1
    """
    if not is_text(column):
        return 0
    times = pc.match_substring_regex(column, r"^\s*\d{4}-\d\d-\d\d[T ]\d")
    zoned = pc.match_substring_regex(column, r"(Z|[+-]\d\d(:?\d\d)?)\s*$")
    bare = pc.sum(pc.and_(times, pc.invert(zoned))).as_py() or 0
    return bare if pc.any(pc.and_(times, zoned)).as_py() else 0


def is_time(cell: str) -> bool:
    """Whether a cell is a time or a date as of ISO 8601.

    >>> is_time("2024-01-31"), is_time("31.1.2024")
    (True, False)
    """
    return _time(cell.strip()) is not None


def _time(cell: str) -> float | None:
    try:
        moment = datetime.datetime.fromisoformat(cell)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes in their order: as numbers where all are whole numbers, else as text.

    >>> class_order({"10", "9", "09"}), class_order({"b", "10", "9"})
    (('09', '9', '10'), ('10', '9', 'b'))
    """
    ordered = sorted(set(names))
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in ordered):
        ordered.sort(key=int)
    return tuple(ordered)


def near_twins(names: Iterable[str], what: str = "classes") -> list[str]:
    """A note on names that a person reads as one: they differ in case, blanks or the form of their characters alone.

    >>> near_twins(["Cat", "cat", "dog"])
    ["classes 'Cat', 'cat' differ only in case or blanks and are held apart; write them alike where one is meant"]
    >>> near_twins(["cat", "dog"])
    []
    """
    alike: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        key = unicodedata.normalize("NFKC", " ".join(re.split(r"[\s_-]+", name.strip()))).casefold()
        alike.setdefault(key, []).append(name)
    twins = [group for group in alike.values() if len(group) > 1]
    shown = "; ".join(named(group) for group in twins[:3]) + ("; ..." if len(twins) > 3 else "")
    return (
        [
            f"{what} {shown} differ only in case or blanks and are held apart; write them alike where one is meant"
        ]
        if twins
        else []
    )


def named(values: Sequence[Any], count: int = 3) -> str:
    """A few of the values, quoted.

    >>> named(["NA", "?"])
    "'NA', '?'"
    """
    return ", ".join(repr(value) for value in values[:count]) + (", ..." if len(values) > count else "")
