"""Reads who-met-what files: `user item [rating] [time]` as text, CSV, TSV, Parquet or atomic `.inter` files.

Knows formats, delimiters and column names. Knows nothing of splits, graphs or models.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from counterpoint.errors import CounterpointError, nearest

ROLES = ("user", "item", "rating", "time")
NAMES = {
    "user": {"user", "users", "user_id", "userid", "uid", "customer", "customer_id", "customerid", "reviewer_id", "reviewerid", "visitor_id", "visitorid", "session", "session_id"},
    "item": {"item", "items", "item_id", "itemid", "iid", "movie", "movie_id", "movieid", "product", "product_id", "productid", "parent_asin", "asin", "book_id", "bookid", "track_id", "song_id", "artist_id", "artistid", "business_id", "article_id", "gmap_id"},
    "rating": {"rating", "ratings", "score", "stars", "overall", "weight", "preference", "label"},
    "time": {"time", "timestamp", "ts", "date", "datetime", "unixreviewtime", "unix_time", "created_at"},
}  # fmt: skip
MISSING = ["", "nan", "NaN", "NAN", "null", "NULL", "None", "NA", "N/A", "<NA>"]
DELIMITERS = {"\t": "tab", ",": "comma", ";": "semicolon", "::": "'::'", " ": "space"}


@dataclass(frozen=True)
class Table:
    """Rows as read: ids as strings, rating and time as float64 or None, and one line on how they were understood."""

    users: pa.Array
    items: pa.Array
    ratings: np.ndarray | None
    times: np.ndarray | None
    understood: str

    def __len__(self) -> int:
        return len(self.users)


def read_table(path: Path, columns: dict[str, str | None] | None = None, layout: str = "rows") -> Table:
    """Read one file.

    Args:
        path: text, CSV, TSV, `.inter` (anything with a delimiter) or Parquet.
        columns: column names by role (user, item, rating, time) where the usual names do not apply.
        layout: "rows" (one interaction a line) or "lists" (`user item item item ...` a line).

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
    if path.suffix in {".parquet", ".pq"}:
        try:
            table = pyarrow.parquet.read_table(path)
        except pa.ArrowInvalid as error:
            raise CounterpointError(f"{path}: not a readable Parquet file ({error})") from None
        header, how = True, "Parquet"
    else:
        text = _text(path)
        if layout == "lists":
            return _lists(path, text)
        table, header, how = _delimited(path, text, given)
    if table.num_rows == 0:
        raise CounterpointError(f"{path}: no rows; expected lines of `user item [rating] [time]`")
    return _typed(path, table, _roles(path, table, header, given), how)


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = path.read_text(encoding="latin-1")
    text = text.lstrip("\r\n")
    if not text.strip():
        raise CounterpointError(f"{path}: the file is empty; expected lines of `user item [rating] [time]`")
    return text


def _lists(path: Path, text: str) -> Table:
    users, items = [], []
    for line in text.splitlines():
        fields = line.split()
        users += fields[:1] * (len(fields) - 1)
        items += fields[1:]
    if not items:
        raise CounterpointError(f"{path}: no line names an item; layout='lists' expects `user item item ...`")
    return Table(
        pa.array(users), pa.array(items), None, None, f"{len(items):,} pairs from lists of items per user"
    )


def _clean(name: str) -> str:
    """Bare column name: no `:type` suffix of atomic files, lower case, underscores.

    >>> _clean("User-ID:token")
    'user_id'
    """
    return re.sub(r"[\s-]+", "_", name.split(":")[0].strip().strip('"').lower())


def _role(name: str) -> str | None:
    return next((role for role in ROLES if _clean(name) in NAMES[role]), None)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _delimited(path: Path, text: str, given: dict[str, str]) -> tuple[pa.Table, bool, str]:
    """Split text into columns; says whether the first line names them."""
    lines = [line for line in text.split("\n", 20)[:20] if line.strip()]
    mark = next((mark for mark in DELIMITERS if mark in lines[0].strip()), None)
    if mark is None:
        raise CounterpointError(
            f"{path}: the first line is {lines[0][:60]!r}, with no tab, comma, ';', '::' or space in it; "
            "expected lines of `user item [rating] [time]`, such as `196 242 3 881250949`"
        )
    first = [field.strip().strip('"') for field in lines[0].strip().split(None if mark == " " else mark)]
    second = lines[1].strip().split(None if mark == " " else mark) if len(lines) > 1 else []
    header = bool(given) or any(_role(name) for name in first)
    if not header and any(not _is_number(a) and _is_number(b) for a, b in zip(first[2:], second[2:])):
        raise CounterpointError(
            f"{path}: the first line looks like column names ({', '.join(first)}), none of which is known; "
            f"say which is which, for example user={first[0]!r}, item={first[1]!r}"
        )
    names = first if header else [f"column {i + 1}" for i in range(len(first))]
    if len(set(names)) < len(names):
        raise CounterpointError(
            f"{path}: the first line names a column twice ({', '.join(names)}); rename one"
        )
    if mark in {" ", "::"}:
        text = text.replace("::", "\t") if mark == "::" else re.sub(r"[ \t]+", "\t", text)
        text = "\n".join(line.strip() for line in text.splitlines())
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(text.encode()),
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=int(header)),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter="\t" if mark in {" ", "::"} else mark,
                quote_char='"' if mark in {",", ";"} else False,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                # Ids stay text: "007" is not 7, and a column of numbers may still hold a "12a" far below.
                column_types=dict.fromkeys(names, pa.string()),
                null_values=MISSING,
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise CounterpointError(
            f"{path}: rows of different lengths ({str(error).splitlines()[0]}); expected the same columns on every line "
            "(for `user item item item ...` lines pass layout='lists')"
        ) from None
    return table, header, f"{DELIMITERS[mark]} separated, {'with' if header else 'no'} header"


def _roles(path: Path, table: pa.Table, header: bool, given: dict[str, str]) -> dict[str, str]:
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
        found = _role(column)
        if found is not None and found not in roles and column not in roles.values():
            roles[found] = column
    for role in ("user", "item"):
        if role not in roles:
            other = next((column for column in names if column not in roles.values()), names[-1])
            raise CounterpointError(
                f"{path}: no {role} column among {', '.join(names)}; expected one such as '{role}_id', or pass {role}={other!r} "
                f"(on the command line --data-option {role}={other})"
            )
    return roles


def _looks_like_time(column: pa.ChunkedArray) -> bool:
    head = [value for value in column.slice(0, 100).to_pylist() if value is not None]
    return bool(head) and all(_is_number(value) and float(value) > 1e8 for value in head)


def _typed(path: Path, table: pa.Table, roles: dict[str, str], how: str) -> Table:
    ids = {role: _ids(path, table, roles[role], role) for role in ("user", "item")}
    numbers = {
        role: _numbers(path, table, roles[role], role) if role in roles else None
        for role in ("rating", "time")
    }
    named = ", ".join(f"{role} = {roles[role]}" for role in ROLES if role in roles)
    return Table(
        ids["user"],
        ids["item"],
        numbers["rating"],
        numbers["time"],
        f"{table.num_rows:,} rows ({how}): {named}",
    )


def _ids(path: Path, table: pa.Table, column: str, role: str) -> pa.Array:
    values = table.column(column).combine_chunks()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py() + 1
        raise CounterpointError(
            f"{path}: {values.null_count:,} rows have an empty or NaN {role} (the first is data row {row}); "
            "drop them or fill in the id, then load the file again"
        )
    if pa.types.is_floating(values.type) and pc.all(pc.equal(values, pc.floor(values))).as_py():
        values = values.cast(pa.int64())
    return pc.utf8_trim_whitespace(values.cast(pa.string()))


def _numbers(path: Path, table: pa.Table, column: str, role: str) -> np.ndarray:
    values = table.column(column).combine_chunks()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        try:
            values = values.cast(pa.float64())
        except pa.ArrowInvalid as error:
            if role == "rating":
                raise CounterpointError(
                    f"{path}: the rating column '{column}' holds something that is no number ({str(error).split(':')[-1].strip()}); "
                    "expected numbers such as 4 or 3.5"
                ) from None
            try:
                values = values.cast(pa.timestamp("s"))
            except pa.ArrowInvalid:
                raise CounterpointError(
                    f"{path}: the time column '{column}' is neither a number nor an ISO date "
                    f"(first value {values[0].as_py()!r}); expected 881250949 or 1997-12-04T15:55:49"
                ) from None
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    found = np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    bad = ~np.isfinite(found)
    if bad.any():
        raise CounterpointError(
            f"{path}: {int(bad.sum()):,} rows have an empty, NaN or infinite {role} (the first is data row {int(bad.argmax()) + 1}); "
            f"drop those rows, or leave the {role} column out of the file"
        )
    return found
