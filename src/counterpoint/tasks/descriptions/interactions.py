"""Interactions: lines of `user item [rating] [time]`, with column names or without."""

from __future__ import annotations

import re
from collections.abc import Sequence

from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample, is_number

MOST = 4
"""Columns of lines that name none."""
ID = re.compile(r"(?=.*\d)[\w.:@/+=-]+")
"""A word with a digit in it: what a user or an item without a column's name must be."""
DATE = re.compile(r"\d{4}-\d\d-\d\d.*")


def file(look: FileSample) -> bool:
    """Whether a table has a user column and an item column, or its lines without names are those of ids."""
    roles = _roles(look)
    if roles:
        return {"user", "item"} <= roles
    return bool(look.lines) and _are_ids(look.lines)


def maybe(look: FileSample) -> str:
    """A column of users alone: the items' column has a name of its own."""
    if "user" not in _roles(look):
        return ""
    from counterpoint.data.interactions.files import role_of

    other = next((name for name in look.names if role_of(name) is None), None)
    return f"--kind interactions --data-option item={other}" if other else ""


def _roles(look: FileSample) -> set[str]:
    from counterpoint.data.interactions.files import role_of  # brings pyarrow, which a name does not need

    return {role for name in look.names if (role := role_of(name)) is not None}


def _are_ids(lines: Sequence[Sequence[str]]) -> bool:
    """Whether every line begins with two ids, a rating or a time after them; ordinary words are none."""
    if all(len(line) >= 2 and all(cell.isdigit() for cell in line) for line in lines):
        return True  # numbers of a user and of any number of items
    if len({len(line) for line in lines}) != 1 or not 2 <= len(lines[0]) <= MOST:
        return False
    names, *rows = lines
    if rows and not any(map(is_number, names)) and all(is_number(cell) for line in rows for cell in line):
        return False  # a line of names that say nothing over numbers
    if not all(is_number(cell) or DATE.fullmatch(cell.strip()) for line in lines for cell in line[2:]):
        return False
    return all(ID.fullmatch(cell.strip()) for line in lines for cell in line[:2])


DESCRIPTION = Description(
    kind="interactions",
    looks="a table with a user column and an item column (`user_id`, `customer_id`, `movie_id`, `asin`, ...); lines without names of two ids with a digit in each, a rating and a time after them; lines of numbers",
    loaders={"": "counterpoint.data.interactions.load:load_interactions"},
    bundled={
        "movielens-100k": "100,000 film ratings of 943 users; ratings of at least 4 are positives",
        "movielens-1m": "1,000,209 film ratings of 6,040 users; ratings of at least 4 are positives",
    },
    file=file,
    maybe=maybe,
    inputs=("user",),
)
