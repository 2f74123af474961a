"""Reads who-met-what files: `user item [rating] [time]` as text, CSV, TSV, JSON, Parquet or atomic `.inter` files.

Knows which column is what, with names or without. Knows nothing of splits, graphs or models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from counterpoint.data import tables
from counterpoint.data.tables import cells, stored
from counterpoint.data.tables.delimited import SEPARATORS, RaggedRow, read_delimited, separator_of
from counterpoint.data.tables.encodings import Text, read_text
from counterpoint.data.tables.read import is_row_numbers, refuse_repeated_names
from counterpoint.data.tables.written import written
from counterpoint.errors import CounterpointError, counted, data_option, nearest

ROLES = ("user", "item", "rating", "time")
NAMES = {
    "user": {"user", "users", "user_id", "userid", "uid", "customer", "customer_id", "customerid", "reviewer_id", "reviewerid", "visitor_id", "visitorid", "session", "session_id"},
    "item": {"item", "items", "item_id", "itemid", "iid", "movie", "movie_id", "movieid", "product", "product_id", "productid", "parent_asin", "asin", "book_id", "bookid", "track_id", "song_id", "artist_id", "artistid", "business_id", "article_id", "gmap_id"},
    "rating": {"rating", "ratings", "score", "stars", "overall", "weight", "preference", "label"},
    "time": {"time", "timestamp", "ts", "date", "datetime", "unixreviewtime", "unix_time", "created_at"},
}  # fmt: skip
CANDIDATES = ("\t", "::", ",", ";", "|", " ")
"""Separators in the order in which they are tried."""
TYPED = (".parquet", ".pq", ".json", ".jsonl")


@dataclass(frozen=True)
class Table:
    """Rows as read: ids as strings, rating and time as float64 or None, one line on how they were understood, and the split of each
    row, where a column ``split`` names it."""

    users: pa.ChunkedArray
    items: pa.ChunkedArray
    ratings: np.ndarray | None
    times: np.ndarray | None
    understood: str
    splits: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Table:
        """The rows that ``rows`` [N] bool marks, without their splits."""
        mask = pa.array(rows)
        return Table(
            self.users.filter(mask),
            self.items.filter(mask),
            None if self.ratings is None else self.ratings[rows],
            None if self.times is None else self.times[rows],
            self.understood,
        )

    def __len__(self) -> int:
        return len(self.users)


def read_table(
    path: Path,
    columns: dict[str, str | None] | None = None,
    layout: str = "rows",
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Table:
    """Read one file.

    Args:
        path: text, CSV, TSV, `.inter` (anything with a separator), JSON, JSON lines or Parquet.
        columns: column names by role (user, item, rating, time) where the usual names do not apply.
        layout: "rows" (one interaction a line) or "lists" (`user item item item ...` a line).
        delimiter: between the cells of text; None: the one that fits every line.
        encoding: of text; None: UTF-8, what a byte-order mark says, or else cp1252.

    Raises:
        CounterpointError: missing or empty file, ragged rows, a missing column, an empty id, a rating that is no number.
    """
    if not path.is_file():
        raise CounterpointError(
            f"{path}: there is no such file; expected lines of `user item [rating] [time]`"
        )
    if layout not in {"rows", "lists"}:
        raise CounterpointError(
            f"layout={layout!r}: expected 'rows' or 'lists'; {nearest(layout, ['rows', 'lists'])}"
        )
    given = {role: name for role, name in (columns or {}).items() if name}
    if path.suffix.lower() in TYPED:
        table, how = _typed(path, encoding)
        header, separator = True, ""
    else:
        # Much of this field's data was written as Latin-1 before UTF-8 was usual.
        text = read_text(path, encoding, fallback="cp1252")
        if layout == "lists":
            return _lists(path, text)
        table, header, separator, how = _delimited(path, text, given, delimiter)
        how += f", {text.note}" if text.note else ""
    if table.num_rows == 0:
        raise CounterpointError(f"{path}: no rows; expected lines of `user item [rating] [time]`")
    return _of(path, table, header, given, how, separator)


def read_saved(path: Path, columns: dict[str, str | None]) -> dict[str, Table]:
    """Tables by split of a folder that the `datasets` library saved; under "all" where it names no splits.

    Raises:
        CounterpointError: a damaged folder, splits of other names, or as ``read_table``.
    """
    given = {role: name for role, name in columns.items() if name}
    result: dict[str, Table] = {}
    for name, table in stored.read_saved(path).items():
        split = tables.split_of(name) or name or "all"
        result[split] = _of(path / name, table, True, given, "a folder of the datasets library", "")
    if set(result) != {"all"} and not {"train", "test"} <= set(result):
        raise CounterpointError(
            f"{path} holds {', '.join(result)}; expected train and test (and validation), or one data set to be split"
        )
    return {split: result[split] for split in ("all", "train", "validation", "test") if split in result}


def _of(path: Path, table: pa.Table, header: bool, given: dict[str, str], how: str, separator: str) -> Table:
    return understood(path, table, roles_of(path, table, header, given), header, how, separator)


def understood(
    path: Path, table: pa.Table, roles: dict[str, str], header: bool, how: str, separator: str
) -> Table:
    """Columns by what they hold.

    Args:
        path: for messages. table: as read. roles: of ``roles_of``. header: the columns have names of their own.
        how: the file was read, for a note. separator: of the cells, where they are text.
    """
    named = tables.splits_named(tables.Table(path, table)) if header else None
    if named is not None and named[0] in roles.values():
        named = None
    read = _understood(path, table, roles, how, separator)
    if named is None:
        return read
    return replace(read, splits=np.array(named[1]), understood=f"{read.understood}, split = {named[0]}")


def _typed(path: Path, encoding: str | None) -> tuple[pa.Table, str]:
    if path.suffix.lower() in (".parquet", ".pq"):
        return tables.read_parquet(path)[0], "Parquet"
    table = tables.read_table(path, encoding=encoding)
    return pa.table({name: table.column(name) for name in table.names}), "JSON"


def _lists(path: Path, text: Text) -> Table:
    users, items = [], []
    with text.open() as file:
        for line in file:  # bytes: a line ends at a line feed, and fields at ASCII blanks
            fields = line.decode("utf-8").strip("\r\n").replace("\t", " ").split(" ")
            fields = [field for field in fields if field]
            users += fields[:1] * (len(fields) - 1)
            items += fields[1:]
    if not items:
        raise CounterpointError(f"{path}: no line names an item; layout='lists' expects `user item item ...`")
    return Table(
        pa.chunked_array([users]),
        pa.chunked_array([items]),
        None,
        None,
        f"{len(items):,} pairs from lists of items per user",
    )


def _clean(name: str) -> str:
    """Bare column name: no `:type` suffix of atomic files, lower case, underscores.

    >>> _clean("User-ID:token")
    'user_id'
    """
    return re.sub(r"[\s-]+", "_", name.split(":")[0].strip().strip('"').lower())


def role_of(name: str) -> str | None:
    """What a column of this name holds: one of ``ROLES``, None where the name says nothing of these."""
    return next((one for one in ROLES if _clean(name) in NAMES[one]), None)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _delimited(
    path: Path, text: Text, given: dict[str, str], delimiter: str | None
) -> tuple[pa.Table, bool, str, str]:
    """Split text into columns; whether the first line names them, the separator, and how it was understood."""
    try:
        parsed = read_delimited(
            text, (separator_of(delimiter),) if delimiter else CANDIDATES, one_column=False
        )
    except RaggedRow as error:
        raise CounterpointError(
            f"{path}: rows of different lengths: line {error.line} has {error.actual} fields, the first has {error.expected} "
            f"({error.content!r}); expected the same columns on every line (for `user item item item ...` lines pass --data-option layout=lists)"
        ) from None
    header, names = named_columns(path, parsed.cells, given)
    table = parsed.cells.slice(int(header))
    if header:
        refuse_repeated_names(table, names, path)
    if header and not names[0] and table.num_rows and is_row_numbers(table.column(0)):
        table, names = table.select(list(range(1, len(names)))), names[1:]  # the index that pandas writes
    refuse_twice(names, path)
    return table.rename_columns(names), header, parsed.separator, described(parsed.separator, header)


def described(separator: str, header: bool) -> str:
    """How a file of text was read, for a note."""
    return f"{SEPARATORS.get(separator, repr(separator))} separated, {'with' if header else 'no'} header"


def refuse_twice(names: list[str], path: Path) -> None:
    """Raise where a name occurs twice."""
    if len(set(names)) < len(names):
        raise CounterpointError(
            f"{path}: the first line names a column twice ({', '.join(names)}); rename one"
        )


def named_columns(path: Path, cells_: pa.Table, given: dict[str, str]) -> tuple[bool, list[str]]:
    """Whether the first of a file's rows names the columns, and their names."""
    first = [(column[0].as_py() or "").strip() for column in cells_.columns]
    if len(first) < 2:
        raise CounterpointError(
            f"{path}: the first line is {first[0][:60]!r}, with no tab, comma, ';', '|', '::' or space in it; "
            "expected lines of `user item [rating] [time]`, such as `196 242 3 881250949`"
        )
    second = [column[1].as_py() or "" for column in cells_.columns] if cells_.num_rows > 1 else []
    header = bool(given) or any(role_of(name) for name in first)
    if not header and any(not _is_number(a) and _is_number(b) for a, b in zip(first[2:], second[2:])):
        raise CounterpointError(
            f"{path}: the first line looks like column names ({', '.join(first)}), none of which is known; "
            f"say which is which, for example {data_option('user', first[0])} {data_option('item', first[1])}"
        )
    return header, first if header else [f"column {i + 1}" for i in range(len(first))]


def roles_of(path: Path, table: pa.Table, header: bool, given: dict[str, str]) -> dict[str, str]:
    """Role -> column name."""
    names = table.column_names
    roles: dict[str, str] = {}
    for role, name in given.items():
        match = next(
            (column for column in names if name in {column, _clean(column), column.split(":")[0]}), None
        )
        if match is None:
            raise CounterpointError(
                f"{path}: {role}={name!r}, but there is no such column; {nearest(name, names)}"
            )
        roles[role] = match
    if not header:
        if not 2 <= len(names) <= 4:
            raise CounterpointError(
                f"{path}: {len(names)} columns without names; expected `user item [rating] [time]`, or a first line with names"
            )
        roles = dict(zip(ROLES, names))
        if len(names) == 3 and _looks_like_time(table.column(2)):
            roles["time"] = roles.pop("rating")
        return roles
    for column in names:
        column_role = role_of(column)
        if column_role is not None and column_role not in roles and column not in roles.values():
            roles[column_role] = column
    for role in ("user", "item"):
        if role not in roles:
            other = next((column for column in names if column not in roles.values()), names[-1])
            raise CounterpointError(
                f"{path}: no {role} column among {', '.join(names)}; expected one such as '{role}_id', or pass "
                f"{data_option(role, other)}"
            )
    return roles


def _looks_like_time(column: pa.ChunkedArray) -> bool:
    head = [value for value in column.slice(0, 100).to_pylist() if value is not None]
    return bool(head) and all(_is_number(value) and float(value) > 1e8 for value in head)


def _understood(path: Path, table: pa.Table, roles: dict[str, str], how: str, separator: str) -> Table:
    ids = {role: _ids(path, table, roles[role], role) for role in ("user", "item")}
    ways: list[str] = []
    values = {
        role: _values(path, table, roles[role], role, separator, ways) if role in roles else None
        for role in ("rating", "time")
    }
    named = ", ".join(f"{role} = {roles[role]}" for role in ROLES if role in roles)
    return Table(
        ids["user"],
        ids["item"],
        values["rating"],
        values["time"],
        f"{table.num_rows:,} rows ({how}): {named}{''.join(ways)}",
    )


def _ids(path: Path, table: pa.Table, column: str, role: str) -> pa.ChunkedArray:
    values = table.column(column)
    if pa.types.is_nested(values.type) or pa.types.is_binary(values.type):
        raise CounterpointError(
            f"{path}: the {role} column '{column}' holds {values.type}; expected numbers or text"
        )
    # Few different ids stand in many rows: each is looked at once.
    coded = values.dictionary_encode(null_encoding="encode").unify_dictionaries().combine_chunks()
    distinct = pa.chunked_array([coded.dictionary])
    empty = cells.gaps(distinct)
    if empty.any():
        missing = empty[coded.indices.to_numpy()]
        raise CounterpointError(
            f"{path}: {counted(int(missing.sum()), 'row has', 'rows have', ',')} an empty or NaN {role} (the first is data row {int(missing.argmax()) + 1}); "
            "drop them or fill in the id, then load the file again"
        )
    clean = cells.whole(distinct)[0].combine_chunks()
    return pa.chunked_array([clean.take(coded.indices)])


def _values(
    path: Path, table: pa.Table, column: str, role: str, separator: str, ways: list[str]
) -> np.ndarray:
    given = table.column(column)
    values, missing, wrong = (cells.numbers if role == "rating" else cells.times)(given)
    if role == "rating" and wrong.any() and (other := written(given, separator)) is not None:
        values, missing, wrong = other.values, other.gaps, np.zeros_like(wrong)
        ways.append(f"; {column}: {other.note}")
    if role == "time" and (bare := cells.without_zone(given)):
        ways.append(f"; {column}: {bare:,} times without a zone beside others with one are read as UTC")
    if wrong.any():
        row = int(wrong.argmax())
        if role == "rating":
            raise CounterpointError(
                f"{path}: the rating column '{column}' holds something that is no number ({given[row].as_py()!r} in data row {row + 1}); "
                "expected numbers such as 4 or 3.5"
            )
        raise CounterpointError(
            f"{path}: the time column '{column}' is neither a number nor an ISO date in data row {row + 1} "
            f"({given[row].as_py()!r}); expected 881250949 or 1997-12-04T15:55:49+01:00"
        )
    bad = missing | ~np.isfinite(values)
    if bad.any():
        raise CounterpointError(
            f"{path}: {counted(int(bad.sum()), 'row has', 'rows have', ',')} an empty, NaN or infinite {role} (the first is data row {int(bad.argmax()) + 1}); "
            f"drop those rows, or leave the {role} column out of the file"
        )
    return values
