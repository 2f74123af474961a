"""A BEIR folder of which only the test split is looked at: what is measured on, and never trained on."""

from __future__ import annotations

from pathlib import Path

from counterpoint.data.retrieval import streams
from counterpoint.data.retrieval.conversations import turns_of
from counterpoint.data.retrieval.load import Retrieval, judgements_at
from counterpoint.data.retrieval.rows import queries_table, texts_of
from counterpoint.data.tables.read import read_table
from counterpoint.errors import CounterpointError


def load_test(folder: Path) -> Retrieval:
    """Corpus, queries and the judgements of ``qrels/test``; ``train`` and ``validation`` are empty.

    Raises:
        CounterpointError: no such folder, a part that is missing or cannot be read, judgements of unknown ids, or none above 0.
    """
    if not folder.is_dir():
        raise CounterpointError(
            f"{folder} is no folder; expected one with corpus.jsonl, queries.jsonl and qrels/test.tsv, as BEIR has them"
        )
    documents = texts_of(read_table(streams.file_of(folder, ("corpus",))))
    table = queries_table(streams.file_of(folder, ("queries", "topics")))
    queries = texts_of(table)
    judged = [row for row in streams.judgements(folder) if row[2] > 0]
    if not judged:
        raise CounterpointError(
            f"{folder}: the judgements of test name no relevant document; expected grades above 0"
        )
    for query, document, _ in judged:
        if query not in queries or document not in documents:
            kind, key = ("query", query) if query not in queries else ("document", document)
            raise CounterpointError(
                f"{folder}: the judgements of test name the {kind} {key!r}, which is not in the data"
            )
    history = turns_of(table, list(queries)).history
    at = ({key: index for index, key in enumerate(each)} for each in (queries, documents))
    query_at, document_at = at
    nothing = judgements_at([], query_at, document_at)
    return Retrieval(
        tuple(documents.values()),
        tuple(queries.values()),
        tuple(documents),
        tuple(queries),
        nothing,
        nothing,
        judgements_at(judged, query_at, document_at),
        name=folder.resolve().name,
        history=tuple(history.get(key, ()) for key in queries) if any(history.values()) else (),
    )
