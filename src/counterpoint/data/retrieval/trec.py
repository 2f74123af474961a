"""The files of TREC: judgements (``query 0 document grade``), runs (``query Q0 document rank score tag``), queries (``id<TAB>text``).

Fields of judgements and runs are separated by blanks; ids hold none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from counterpoint.data.tables.encodings import read_text
from counterpoint.errors import CounterpointError

JUDGEMENTS = (".qrels", ".qrel", ".trec", ".txt")
"""Endings of files of judgements in TREC's form."""
Ranking = Sequence[tuple[str, float]]
"""Ids of documents with their scores, the best first."""


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file that are not blank, with their numbers, without the whole file in memory at once."""
    rest, number = b"", 0
    for block in read_text(path).blocks():
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            number += 1
            if line.strip():
                yield number, line.decode("utf-8").strip()
    if rest.strip():
        yield number + 1, rest.decode("utf-8").strip()


def read_judgements(path: Path) -> list[tuple[str, str, float]]:
    """(query, document, grade) of every line.

    Raises:
        CounterpointError: a line of other fields, a grade that is no number.
    """
    rows = []
    for number, line in lines(path):
        cells = line.split()
        if len(cells) != 4:
            raise CounterpointError(
                f"{path}, line {number} has {len(cells)} fields; expected TREC's four: query, iteration, document, grade"
            )
        rows.append((cells[0], cells[2], _number(cells[3], path, number, "grade")))
    if not rows:
        raise CounterpointError(f"{path} holds no judgements; expected lines such as 'q1 0 d7 1'")
    return rows


def read_run(path: Path) -> dict[str, list[tuple[str, float]]]:
    """Query -> documents with their scores, the best first, the earlier line first of equals.

    Raises:
        CounterpointError: no such file, a line of other fields, a score that is no number, a document twice for a query.
    """
    if not path.is_file():
        raise CounterpointError(
            f"there is no run {path}; give a file of lines such as 'q1 Q0 d7 1 23.4 name'"
        )
    scores: dict[str, dict[str, float]] = {}
    for number, line in lines(path):
        cells = line.split()
        if len(cells) != 6:
            raise CounterpointError(
                f"{path}, line {number} has {len(cells)} fields; expected TREC's six: query, Q0, document, rank, score, name"
            )
        ranking = scores.setdefault(cells[0], {})
        if cells[2] in ranking:
            raise CounterpointError(
                f"{path}, line {number}: document {cells[2]!r} stands twice for query {cells[0]!r}"
            )
        ranking[cells[2]] = _number(cells[4], path, number, "score")
    if not scores:
        raise CounterpointError(f"{path} holds no lines; expected some such as 'q1 Q0 d7 1 23.4 name'")
    return {query: sorted(each.items(), key=lambda item: -item[1]) for query, each in scores.items()}


def write_run(path: Path, rankings: Mapping[str, Ranking] | Iterable[tuple[str, Ranking]], name: str) -> None:
    """Write rankings, whole or not at all.

    Raises:
        CounterpointError: an id with a blank in it, which the form cannot hold.
    """
    partial = path.with_name(path.name + ".partial")
    pairs = rankings.items() if isinstance(rankings, Mapping) else rankings
    with partial.open("w", encoding="utf-8") as file:
        for query, ranking in pairs:
            for rank, (document, score) in enumerate(ranking, 1):
                if len(f"{query} {document}".split()) != 2:
                    raise CounterpointError(
                        f"the ids {query!r} and {document!r} cannot stand in a TREC run: fields are separated by blanks; rename them"
                    )
                file.write(f"{query} Q0 {document} {rank} {score:.9g} {name}\n")
    os.replace(partial, path)


def _number(text: str, path: Path, number: int, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CounterpointError(f"{path}, line {number}: {what} {text!r}; expected a number")
    return value
