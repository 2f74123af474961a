"""Rows of a corpus, of queries and of judgements, as tables hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from counterpoint.data.retrieval.conversations import cast_rows, last_of
from counterpoint.data.retrieval.trec import JUDGEMENTS, read_judgements
from counterpoint.data.tables.read import read_table
from counterpoint.data.tables.table import Table
from counterpoint.errors import CounterpointError

IDS = ("_id", "id")
OF_QUERY, OF_DOCUMENT = ("query-id", "query_id", "qid"), ("corpus-id", "corpus_id", "docid", "document_id")
Judged = tuple[str, str, float]
"""Ids of a query and a document, and the grade of relevance."""
TOPICS = "topics"
"""Name of a file of queries as TREC CAsT has them."""


def texts_of(table: Table) -> dict[str, str]:
    """Texts by id, a title before the text; of a conversation, its last message.

    Raises:
        CounterpointError: no column of ids or texts, a row without either, an id twice.
    """
    conversations = "text" not in table.names and "messages" in table.names
    key, texts = column_of(table, IDS), "messages" if conversations else column_of(table, ("text",))
    titles = table.values("title") if "title" in table.names else [None] * len(table)
    texts_by_id: dict[str, str] = {}
    for at, (name, text, title) in enumerate(
        zip(table.values(key), table.values(texts), titles, strict=True)
    ):
        if conversations:
            text = last_of(table, at)
        written = " ".join(
            str(each).strip() for each in (title, text) if each is not None and str(each).strip()
        )
        if name is None or not str(name) or not written:
            raise CounterpointError(
                f"{table.where(at)} has no {'id' if written else 'text'}; give every row both, or leave it out"
            )
        if str(name) in texts_by_id:
            raise CounterpointError(
                f"{table.where(at)}: the id {str(name)!r} stands twice; every row needs its own"
            )
        texts_by_id[str(name)] = written
    return texts_by_id


def judgements_of(path: Path) -> list[Judged]:
    """Judgements of a table, or of a file in TREC's form.

    Raises:
        CounterpointError: a missing column, a grade that is no number.
    """
    return read_judgements(path) if path.name.lower().endswith(JUDGEMENTS) else _judged(read_table(path))


def queries_table(path: Path) -> Table:
    """A table of queries; of TREC CAsT's topics, a row a turn.

    Raises:
        CounterpointError: topics of another form, or without a turn.
    """
    table = read_table(path)
    if path.name.split(".")[0].lower() != TOPICS:
        return table
    rows = cast_rows(list(table.rows()), str(path))
    if not rows:
        raise CounterpointError(
            f"{path} holds no turns; expected topics with 'number' and 'turn', as TREC CAsT has them"
        )
    return Table(path, rows)


def rewrites_of(path: Path, queries: Mapping[str, str]) -> dict[str, str]:
    """Rewrites of a file, by the ids of their queries.

    Raises:
        CounterpointError: a missing column, a query that is not in the data, or two rewrites of one.
    """
    table = read_table(path)
    keys, texts = (
        table.values(column_of(table, names)) for names in ((*OF_QUERY, "_id"), ("text", "rewrite"))
    )
    rewrites: dict[str, str] = {}
    for at, (key, text) in enumerate(zip(keys, texts, strict=True)):
        if str(key) not in queries:
            raise CounterpointError(
                f"{table.where(at)} rewrites the query {str(key)!r}, which is not in the data"
            )
        if str(key) in rewrites:
            raise CounterpointError(
                f"{table.where(at)} rewrites the query {str(key)!r} once more; keep one of them"
            )
        if text is not None and str(text).strip():
            rewrites[str(key)] = str(text).strip()
    return rewrites


def _judged(table: Table) -> list[Judged]:
    query, document = column_of(table, OF_QUERY), column_of(table, OF_DOCUMENT)
    scores: Sequence[Any] = table.values("score") if "score" in table.names else [1] * len(table)
    rows = []
    for at, (q, d, score) in enumerate(zip(table.values(query), table.values(document), scores, strict=True)):
        try:
            grade = float(score)
        except (TypeError, ValueError):
            grade = math.nan
        if not math.isfinite(grade):
            raise CounterpointError(
                f"{table.where(at)}: score={score!r}; expected a number, 0 for a document that is not relevant"
            )
        rows.append((str(q), str(d), grade))
    return rows


def column_of(table: Table, names: Sequence[str]) -> str:
    """The first of several names of a column that a table has.

    Raises:
        CounterpointError: it has none of them.
    """
    for name in names:
        if name in table.names:
            return name
    raise CounterpointError(
        f"{table.path} has no column '{names[0]}'; it has {', '.join(map(str, table.names))}"
    )
