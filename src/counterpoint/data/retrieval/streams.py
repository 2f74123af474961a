"""A corpus that need not fit into memory, and the queries of a search, from the files of BEIR and TREC.

``corpus.jsonl`` is read line by line; CSV, TSV and Parquet as tables. A folder is a BEIR folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from counterpoint.data.retrieval.conversations import Turns, newest_first, turns_of
from counterpoint.data.retrieval.rows import (
    IDS,
    OF_QUERY,
    TOPICS,
    Judged,
    judgements_of,
    queries_table,
    texts_of,
)
from counterpoint.data.retrieval.trec import JUDGEMENTS, lines
from counterpoint.data.tables.read import SUFFIXES, read_table, split_of
from counterpoint.data.tables.table import Table
from counterpoint.data.walk import walk
from counterpoint.errors import CounterpointError

NAMED = {*IDS, *OF_QUERY, "text", "title", "query"}


@dataclass(frozen=True)
class Query:
    """What is searched for.

    Attributes:
        id: of it. conversation: it and the utterances before it, the newest first. rewrites: of it, which stand alone.
    """

    id: str
    conversation: list[str]
    rewrites: list[str]


def file_of(path: Path, stems: tuple[str, ...]) -> Path:
    """The file itself, or the one of these names in a folder.

    Raises:
        CounterpointError: nothing there, or no single such file.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise CounterpointError(
            f"there is no {path}; give a file such as {stems[0]}.jsonl, or a folder with one in it"
        )
    files = [
        file.path for stem in stems for file in walk(path).named(stem, SUFFIXES) if len(file.name.parts) == 1
    ]
    if not files or (len(files) > 1 and len(stems) == 1):
        raise CounterpointError(
            f"{path} has {len(files)} files named {stems[0]}; expected one, such as {stems[0]}.jsonl"
        )
    return files[0]


def fingerprint(path: Path) -> str:
    """Sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def corpus(path: Path) -> Iterator[tuple[str, str]]:
    """Ids and texts of documents, a title before the text, in the file's order.

    Raises:
        CounterpointError: a line that is no object, a document without id or text.
    """
    if path.suffix.lower() != ".jsonl":
        yield from texts_of(read_table(path)).items()
        return
    for number, line in lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CounterpointError(
                f"{path}, line {number}: {error}; expected an object with '_id' and 'text'"
            ) from None
        if not isinstance(row, dict):
            raise CounterpointError(
                f"{path}, line {number} holds no object; expected one with '_id' and 'text'"
            )
        yield from texts_of(Table(path, [row])).items() if _whole(row) else _refused(path, number)


def queries(path: Path) -> list[Query]:
    """The queries of a file: BEIR's, with or without conversations, TREC CAsT's topics, or lines ``id<TAB>text``.

    Raises:
        CounterpointError: a row without id or text, an id twice.
    """
    if path.suffix.lower() in (".tsv", ".txt") and not _has_names(path):
        rows = []
        for number, line in lines(path):
            key, tab, text = line.partition("\t")
            if not tab or not text.strip():
                raise CounterpointError(
                    f"{path}, line {number}: expected an id, a tab and the query; or a file such as queries.jsonl"
                )
            rows.append({"_id": key.strip(), "text": text.strip()})
        table = Table(path, rows)
    else:
        table = queries_table(path)
    texts = texts_of(table)
    turns: Turns = turns_of(table, list(texts))
    return [
        Query(
            key,
            newest_first(text, turns.history.get(key, ())),
            [each[key] for _, each in sorted(turns.rewrites.items()) if key in each],
        )
        for key, text in texts.items()
    ]


def judgements(path: Path) -> list[Judged]:
    """Judgements of a file, or of the test split of a BEIR folder.

    Raises:
        CounterpointError: no such file, or a folder without judgements of a test.
    """
    if path.is_dir():
        files = [
            file.path
            for file in walk(path).of((*SUFFIXES, *JUDGEMENTS))
            if len(file.name.parts) > 1
            and file.name.parts[-2] == "qrels"
            and split_of(file.name.name.split(".")[0]) == "test"
        ]
        if not files:
            raise CounterpointError(f"{path} has no qrels/test.tsv; give the file of judgements itself")
        path = files[0]
    if not path.is_file():
        raise CounterpointError(f"there is no {path}; give judgements such as qrels/test.tsv")
    return judgements_of(path)


def _has_names(path: Path) -> bool:
    first = next((line for _, line in lines(path)), "")
    return (
        not NAMED.isdisjoint(cell.strip().lower() for cell in first.split("\t"))
        or path.name.split(".")[0].lower() == TOPICS
    )


def _whole(row: dict[str, object]) -> bool:
    key = next((row[name] for name in IDS if row.get(name) is not None), None)
    return (
        key is not None
        and str(key) != ""
        and bool(f"{row.get('title') or ''}{row.get('text') or ''}".strip())
    )


def _refused(path: Path, number: int) -> Iterator[tuple[str, str]]:
    raise CounterpointError(
        f"{path}, line {number} has no id or no text; give every document both, or leave it out"
    )
