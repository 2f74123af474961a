"""What a table's columns become: numbers with a value for gaps, or one column per name. Stored with the model.

A column whose cells are all numbers, but for gaps, is a number; any other is a category. The encoding is taken from the
training rows once; rows that are read later for the same model are encoded alike. Shapes: N rows, F encoded columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from counterpoint.data.regression.doubts import distinct_numbers, sentinel
from counterpoint.data.tables import Table, cells, row_name
from counterpoint.data.tables.written import alike, written
from counterpoint.errors import CounterpointError, counted, data_option

MOST_VALUES = 50
"""A column of text with more values than this is a name or a sentence, not a category."""
DATE = re.compile(
    r"\d{1,4}([./ -])\d{1,2}\1\d{1,4}([ T,].*)?|\d{1,2}[ -]?[A-Za-z]{3,9}\.?[ ,-]+\d{2,4}.*|[A-Z][a-z]{2,8}\.? \d{1,2},? \d{2,4}.*"
)
"""What people write dates like, besides ISO 8601."""
NEARLY_ALL = 0.9
"""From this share of numbers on, a cell that is none is taken for a mistake, not for a category."""


@dataclass(frozen=True)
class Column:
    """How one column of a table is read.

    Attributes:
        name: of the column.
        values: names of its categories, each of which becomes a column of 0 and 1; None: the column is a number.
        fill: the number's mean over the training rows, which stands for gaps.
        offset, scale: what is subtracted from and what divides a number that float32 cannot hold closely enough.
    """

    name: str
    values: tuple[str, ...] | None = None
    fill: float = 0.0
    offset: float = 0.0
    scale: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return (self.name,) if self.values is None else tuple(f"{self.name}={value}" for value in self.values)

    def described(self) -> dict[str, Any]:
        """As JSON."""
        if self.values is not None:
            return {"name": self.name, "values": list(self.values)}
        return {"name": self.name, "fill": self.fill, "offset": self.offset, "scale": self.scale}

    @classmethod
    def of(cls, described: dict[str, Any]) -> Column:
        """The column that ``described`` describes."""
        values = described.get("values")
        return cls(**{**described, "values": None if values is None else tuple(values)})


@dataclass(frozen=True)
class Encoded:
    """Inputs [N, F] float32, the columns they came from, notes, and which columns had gaps that were filled."""

    inputs: np.ndarray
    encoding: tuple[Column, ...]
    notes: list[str]
    filled: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the F columns."""
        return tuple(name for column in self.encoding for name in column.names)


def joined(tables: Sequence[Table], name: str) -> pa.ChunkedArray:
    """One column of several files; what one of them lacks is null, what differs in type becomes text."""
    parts = [
        table.column(name) if name in table.names else pa.chunked_array([pa.nulls(len(table))])
        for table in tables
    ]
    kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
    if len(kinds) > 1 and all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        kind: pa.DataType = pa.float64()
    elif len(kinds) > 1:
        kind = pa.string()
    else:
        kind = next(iter(kinds), pa.null())
    try:
        return pa.chunked_array([chunk for part in parts for chunk in part.cast(kind).chunks], kind)
    except (pa.ArrowException, NotImplementedError):
        raise CounterpointError(
            f"{tables[0].path}: column '{name}' is of another type in another file; write both the same way"
        ) from None


def numeric(tables: Sequence[Table], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """A column of several files as float64, its gaps and what is neither (``cells.numbers``), and a note or ""."""
    column = joined(tables, name)
    values, gap, wrong = cells.numbers(column)
    if wrong.any() and cells.is_text(column):
        other = written(column, tables[0].separator)
        if other is not None:
            return other.values, other.gaps, np.zeros_like(wrong), f"column '{name}': {other.note}"
        if cells.is_time(str(column[int(np.argmax(wrong))].as_py())):
            moments, moment_gap, odd = cells.times(column)
            if not odd.any():
                return moments, moment_gap, odd, f"column '{name}': times, as seconds since 1970"
    return values, gap, wrong, ""


def encode(
    tables: Sequence[Table],
    names: Sequence[str],
    spec: str,
    missing: str,
    train: np.ndarray,
    as_names: set[str],
) -> Encoded:
    """Columns as numbers, with the encoding that their training rows give.

    Args:
        tables: the files, whose rows follow one another.
        names: columns to encode.
        spec: for messages.
        missing: "error", or "mean" for gaps in numbers.
        train: [N] bool: rows that training sees.
        as_names: columns that hold names even where they look like numbers.

    Raises:
        CounterpointError: gaps, a column that is neither numbers nor few names, a number that is infinite.
    """
    made: list[np.ndarray] = []
    encoding: list[Column] = []
    notes: list[str] = []
    filled: tuple[str, ...] = ()
    for name in names:
        values, gap, wrong, note = numeric(tables, name)
        column = joined(tables, name)
        if (
            name in as_names
            or cells.leading_zeros(column)
            or _is_category(tables, gap, wrong, name, spec, notes)
        ):
            if name not in as_names and cells.leading_zeros(column):
                notes.append(f"column '{name}': numbers that begin with zeros are read as names")
            part, own = _categories(column, name, spec, notes, None)
        else:
            notes.extend([note] if note else [])
            part, own = _number(tables, values, gap, name, spec, missing, train, notes, None)
            filled += (name,) * bool(gap.any())
        made += part
        encoding.append(own)
    if not made:
        raise CounterpointError(
            f"{spec}: no columns are left to predict from; expected at least one besides the target"
        )
    return Encoded(np.stack(made, 1).astype(np.float32), tuple(encoding), notes, filled)


def encode_as(tables: Sequence[Table], encoding: Sequence[Column], spec: str) -> Encoded:
    """Columns as the encoding of a model says: its categories, its values for gaps.

    Raises:
        CounterpointError: a column is missing, or a number's column holds text.
    """
    present = list(dict.fromkeys(name for table in tables for name in table.names))
    made: list[np.ndarray] = []
    notes: list[str] = []
    for column in encoding:
        if column.name not in present:
            raise CounterpointError(
                f"{spec} has no column '{column.name}', from which the model learnt; its columns are {', '.join(present[:12])}"
            )
        if column.values is not None:
            made += _categories(joined(tables, column.name), column.name, spec, notes, column)[0]
            continue
        values, gap, wrong, note = numeric(tables, column.name)
        notes.extend([note] if note else [])
        if wrong.any():
            raise _no_number(tables, wrong, column.name, spec)
        made += _number(tables, values, gap, column.name, spec, "mean", ~gap, notes, column)[0]
    return Encoded(np.stack(made, 1).astype(np.float32), tuple(encoding), notes)


LEAST = 1e-15
"""The least deviation that numbers are held with as they are: its square is still a number in float32."""


def beyond(scale: float) -> str:
    """What numbers are that were divided by ``scale``, for messages."""
    return "too small for float32" if scale <= LEAST else "too large for float32"


def scaling(values: np.ndarray) -> tuple[float, float]:
    """What to subtract and to divide by, in float64, before numbers become float32: (0, 1) for nearly all there are.

    >>> scaling(np.array([1.0, 2.0]))
    (0.0, 1.0)
    >>> [float(f"{part:.3g}") for part in scaling(np.array([1e-40, 3e-40]))]
    [2e-40, 1e-40]
    """
    most = float(np.abs(values).max(initial=0.0))
    # Divided first, so that squares of the largest float64 numbers do not overflow.
    unit = most or 1.0
    spread = float((values / unit).std()) * unit
    if most < 1e15 and (spread == 0.0 or (most * 2.0**-24 <= 1e-3 * spread and spread > LEAST)):
        return 0.0, 1.0
    return float((values / unit).mean()) * unit, spread or unit


def _is_category(
    tables: Sequence[Table], gap: np.ndarray, wrong: np.ndarray, name: str, spec: str, notes: list[str]
) -> bool:
    """Whether a column holds names; where some of them are numbers, it is said.

    Raises:
        CounterpointError: nearly all cells are numbers, in whatever way of writing.
    """
    if not wrong.any():
        return False
    column = joined(tables, name)
    if not cells.is_text(column):
        return True
    numbers = int((~gap & ~wrong).sum())
    codes, distinct = cells.coded(column.filter(pa.array(wrong)))
    other = np.array([alike(str(cell)) for cell in distinct])[codes]
    if numbers + int(other.sum()) >= NEARLY_ALL * (~gap).sum():
        raise _no_number(tables, wrong, name, spec)
    if numbers or other.any():
        row = int(np.argmax(wrong))
        notes.append(
            f"column '{name}': {int(wrong.sum())} of {int((~gap).sum())} cells are no numbers, the first in {row_name(tables, row)}: "
            f"{column[row].as_py()!r}; all are read as names"
        )
    return True


def _no_number(tables: Sequence[Table], wrong: np.ndarray, name: str, spec: str) -> CounterpointError:
    row = int(np.argmax(wrong))
    cell = joined(tables, name)[row].as_py()
    what = "are written in another way" if alike(str(cell)) else "are none"
    return CounterpointError(
        f"{spec}: column '{name}' holds numbers, but {int(wrong.sum())} cells {what}, the first in {row_name(tables, row)}: "
        f"{cell!r}; mend them, empty them for gaps, leave the column out with {data_option('leave_out', name)}, or read all its cells "
        f"as names with {data_option('names', name)}"
    )


def _number(
    tables: Sequence[Table],
    values: np.ndarray,
    gap: np.ndarray,
    name: str,
    spec: str,
    missing: str,
    train: np.ndarray,
    notes: list[str],
    column: Column | None,
) -> tuple[list[np.ndarray], Column]:
    infinite = ~np.isfinite(values) & ~gap
    if infinite.any():
        raise CounterpointError(
            f"{spec}: column '{name}' holds {counted(int(infinite.sum()), 'infinite number')}, the first in {row_name(tables, int(np.argmax(infinite)))}; "
            "mend or remove the rows"
        )
    given = train & ~gap
    if column is None:
        if gap.any() and missing == "error":
            raise CounterpointError(
                f"{spec}: column '{name}' lacks {int(gap.sum())} values, the first in {row_name(tables, int(np.argmax(gap)))}; fill "
                "them, or with --data-option missing=mean"
            )
        if not given.any():
            raise CounterpointError(
                f"{spec}: column '{name}' is empty in training; leave it out with {data_option('leave_out', name)}"
            )
        merged = distinct_numbers(joined(tables, name), values, gap)
        if merged is not None:
            raise CounterpointError(
                f"{spec}: column '{name}' holds {merged[0]} different numbers, of which float64 tells {merged[1]} apart; leave it out with "
                f"{data_option('leave_out', name)}, or read them as names with {data_option('names', name)}"
            )
        notes.extend(sentinel(values[given], name, "empty these cells and give --data-option missing=mean"))
        column = Column(name, None, float(values[given].mean()), *scaling(values[given]))
        if (column.offset, column.scale) != (0.0, 1.0):
            notes.append(
                f"column '{name}': {beyond(column.scale)}, held as (value - {column.offset:g}) / {column.scale:g}"
            )
        whose = "training mean"
    else:
        whose = f"model's own mean, {column.fill:g}"
    if gap.any():
        notes.append(f"column '{name}': {counted(int(gap.sum()), 'gap')} filled with the {whose}")
        values = np.where(gap, column.fill, values)
    if column.offset or column.scale != 1.0:
        values = (values - column.offset) / column.scale
    if np.abs(values).max(initial=0.0) > np.finfo(np.float32).max:
        raise CounterpointError(
            f"{spec}: column '{name}' holds numbers far beyond those that training saw; leave it out"
        )
    return [values], column


def _categories(
    column: pa.ChunkedArray, name: str, spec: str, notes: list[str], stored: Column | None
) -> tuple[list[np.ndarray], Column]:
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise CounterpointError(
            f"{spec}: column '{name}' holds {column.type}; expected numbers or names: leave it out with {data_option('leave_out', name)}"
        )
    text = pc.utf8_trim_whitespace(column) if cells.is_text(column) else cells.whole(column)[0]
    gap = cells.gaps(text, cells.class_gaps(text))
    codes, distinct = cells.coded(text)
    own = [str(value) for value in distinct]
    present = sorted({own[code] for code in np.unique(codes[~gap]).tolist()})
    values = list(stored.values or ()) if stored else present
    beginning = f"column '{name}':"
    dates = bool(values) and stored is None and all(DATE.fullmatch(value) for value in values)
    if stored is None and len(values) > MOST_VALUES:
        example = "; dates are read as times where they are written as 2024-01-31" if dates else ""
        raise CounterpointError(
            f"{spec}: column '{name}' holds {len(values)} different texts; leave it out with {data_option('leave_out', name)}, or turn it into numbers{example}"
        )
    if dates:
        notes.append(
            f"column '{name}': dates such as {values[0]!r} are read as {len(values)} names; written as 2024-01-31 they are read as times"
        )
    elif stored is None and cells.is_text(column) and not any(beginning in note for note in notes):
        odd = next((value for value in values if re.match(r"[+-]?[.,]?\d", value) and not alike(value)), None)
        if odd is not None:
            notes.append(f"{beginning} {odd!r} is no number; its cells are read as {len(values)} names")
    if gap.any():
        notes.append(
            f"column '{name}': {counted(int(gap.sum()), 'gap')}; there, none of its {len(values)} columns is 1"
        )
    if stored is None:
        notes += cells.near_twins(values, f"column '{name}': names")
    unseen = [value for value in present if value not in values]
    if unseen:
        notes.append(
            f"column '{name}': the model has not seen {cells.named(unseen)}; there, none of its columns is 1"
        )
    number = {value: index for index, value in enumerate(own)}
    return [(codes == number.get(value, -2)) & ~gap for value in values], Column(name, tuple(values))
