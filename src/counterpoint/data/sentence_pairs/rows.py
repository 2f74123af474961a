"""Reads anchors, positives, negatives and scores out of tables, by the column conventions of sentence-transformers."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.data.tables import Table
from counterpoint.errors import CounterpointError, data_option, nearest

NAMED = (
    ("anchor", "positive"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_A", "sentence_B"),
)
"""Names that say which column is which, in any order."""  # fmt: skip
NEGATIVE = re.compile(r"negatives?([_ ]?\d+)?", re.IGNORECASE)
SCORES = ("score", "scores", "label", "labels", "similarity_score", "similarity")
"""Names of the column that is no sentence."""
LOWEST, HIGHEST = -1.0, 1.0
"""Of a score: it is compared with a cosine."""


@dataclass(frozen=True)
class Roles:
    """Which columns are what.

    Attributes:
        sentences: the anchor's column, the positive's, and those of negatives. score: of the scores, None for none.
        by_order: whether the columns' order decided. left: columns that are not read.
    """

    sentences: tuple[str, ...]
    score: str | None
    by_order: bool = False
    left: tuple[str, ...] = ()

    def note(self) -> list[str]:
        """What a person should look at."""
        lines = []
        if self.by_order:
            words = ("anchor", "positive") if self.score is None else ("first sentence", "second sentence")
            roles = [*words, *["negative"] * (len(self.sentences) - 2)]
            shown = ", ".join(f"'{name}' the {role}" for name, role in zip(self.sentences, roles))
            lines.append(f"columns in their order: {shown}; others with {data_option('columns', 'A,B')}")
        if self.left:
            lines.append(f"columns that are not read: {', '.join(self.left)}")
        return lines


@dataclass(frozen=True)
class Row:
    """One row: its split or None, and where it stands."""

    anchor: str
    positive: str
    negatives: tuple[str, ...]
    score: float | None
    split: str | None
    where: str


def roles_of(tables: Sequence[Table], name: str, columns: str | None, score: str | None) -> Roles:
    """Which column is what: as named, by usual names, or by their order.

    Args:
        columns: names with commas, the anchor's first, then the positive's, then negatives'. score: a column, or "none".

    Raises:
        CounterpointError: a named column that is not there; fewer than two columns of sentences.
    """
    names = list(dict.fromkeys(each for table in tables for each in table.names))
    lower = {each.lower(): each for each in reversed(names)}
    if score is not None and score != "none" and score not in names:
        raise CounterpointError(f"{name} has no column '{score}'; {nearest(score, names)}")
    usual = next((lower[each] for each in SCORES if each in lower), None)
    chosen = None if score == "none" else score or usual
    rest = [each for each in names if each != chosen and not (score == "none" and each == usual)]
    if columns is not None:
        given = [each.strip() for each in columns.split(",") if each.strip()]
        for each in given:
            if each not in names:
                raise CounterpointError(f"{name} has no column '{each}'; {nearest(each, names)}")
        if len(given) < 2 or len(set(given)) < len(given) or chosen in given:
            raise CounterpointError(
                f"columns='{columns}'; expected the columns of the anchor and of the positive, then any of negatives, each once: "
                f"{data_option('columns', 'question,answer')}"
            )
        left = tuple(each for each in rest if each not in given)
        return Roles(tuple(given), chosen, left=left)
    for first, second in NAMED:
        if first.lower() in lower and second.lower() in lower:
            pair = (lower[first.lower()], lower[second.lower()])
            wrong = sorted((each for each in rest if NEGATIVE.fullmatch(each)), key=_number)
            left = tuple(each for each in rest if each not in (*pair, *wrong))
            return Roles((*pair, *wrong), chosen, left=left)
    sentences = tuple(each for each in rest if _is_text(tables, each))
    if len(sentences) < 2:
        raise CounterpointError(
            f"{name}: columns {', '.join(names[:12])}; expected anchor and positive, sentence1 and sentence2, or at least two columns of text; "
            f"name them: {data_option('columns', 'ANCHOR,POSITIVE')}"
        )
    return Roles(sentences, chosen, True, tuple(each for each in rest if each not in sentences))


def read(table: Table, split: str | None, roles: Roles) -> list[Row]:
    """The rows of one table.

    Raises:
        CounterpointError: an empty or missing sentence, a cell of another type, a score that is none, negatives of different number.
    """
    for name in (*roles.sentences, *([roles.score] if roles.score else [])):
        if name not in table.names:
            raise CounterpointError(
                f"{table.path} has no column '{name}', which another file of the data has"
            )
    rows = []
    for index, cells in enumerate(table.rows()):
        where = table.where(index)
        first, second, *wrong = roles.sentences
        anchor, positive = (_text(cells.get(each), each, where) for each in (first, second))
        negatives = tuple(text for each in wrong for text in _several(cells.get(each), each, where))
        score = None if roles.score is None else _score(cells.get(roles.score), roles.score, where)
        if score is not None and negatives:
            raise CounterpointError(
                f"{where}: a score beside negatives; a score is of two sentences: leave out the column '{roles.score}' with "
                f"{data_option('score', 'none')}, or name two columns: {data_option('columns', f'{first},{second}')}"
            )
        if positive in negatives or anchor in negatives:
            same = "positive" if positive in negatives else "anchor"
            raise CounterpointError(f"{where}: a negative is the {same} itself; mend or remove the row")
        rows.append(Row(anchor, positive, negatives, score, split, where))
    return rows


def _number(name: str) -> tuple[int, str]:
    digits = re.sub(r"\D", "", name)
    return (int(digits) if digits else -1), name


def _is_text(tables: Sequence[Table], name: str) -> bool:
    """Whether the first cell of a column that holds anything is text, or a list of texts."""
    for table in tables:
        if name not in table.names:
            continue
        for row in table.rows():
            cell = row.get(name)
            if cell is not None and cell != "":
                words = isinstance(cell, str) and not (table.delimited and _is_number(cell))
                return words or (isinstance(cell, list) and all(isinstance(each, str) for each in cell))
    return False


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _text(cell: Any, name: str, where: str) -> str:
    if isinstance(cell, str) and cell.strip():
        return cell.strip()
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise CounterpointError(
            f"{where}: the column '{name}' is empty; expected a sentence: fill or remove the row"
        )
    raise CounterpointError(
        f"{where}: the column '{name}' holds {reprlib.repr(cell)} ({type(cell).__name__}); expected a sentence"
    )


def _several(cell: Any, name: str, where: str) -> tuple[str, ...]:
    """A cell of negatives: a text, or a list of them."""
    if not isinstance(cell, list | tuple):
        return (_text(cell, name, where),)
    if not cell:
        raise CounterpointError(
            f"{where}: the column '{name}' is an empty list; expected at least one sentence"
        )
    return tuple(_text(each, name, where) for each in cell)


def _score(cell: Any, name: str, where: str) -> float:
    try:
        value = math.nan if cell is None or cell == "" else float(cell)
    except (TypeError, ValueError):
        raise CounterpointError(
            f"{where}: the column '{name}' holds {reprlib.repr(cell)}; expected a number, how alike the two sentences are, or leave the column "
            f"out with {data_option('score', 'none')}"
        ) from None
    if not math.isfinite(value):
        shown = "is empty" if cell is None or cell == "" else f"holds {reprlib.repr(cell)}"
        raise CounterpointError(
            f"{where}: the column '{name}' {shown}; expected a finite number in every row"
        )
    return value
