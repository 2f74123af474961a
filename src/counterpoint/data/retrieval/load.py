"""Retrieval: a corpus, queries, and judgements of which document is relevant to which query, as BEIR's folders have them.

``corpus.jsonl`` (``_id``, ``text``, perhaps ``title``), ``queries.jsonl`` (``_id``, ``text``), ``qrels/{train,dev,test}.tsv``
(``query-id``, ``corpus-id``, ``score``); CSV, TSV and Parquet are read as well, and judgements in TREC's form. Queries may be turns of
conversations, with rewrites (``conversations``). J judgements of a split.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from counterpoint.data.retrieval.conversations import Turns, newest_first, turns_of
from counterpoint.data.retrieval.rows import (
    TOPICS,
    Judged,
    judgements_of,
    queries_table,
    rewrites_of,
    texts_of,
)
from counterpoint.data.retrieval.trec import JUDGEMENTS
from counterpoint.data.tables.read import SUFFIXES, read_table, split_of
from counterpoint.data.walk import walk
from counterpoint.errors import CounterpointError, counted

NAMES = ("train", "validation", "test")
REWRITES = "rewrites"
"""Folder of rewrites, a file for everybody who wrote some."""


@dataclass(frozen=True)
class Judgements:
    """Which document is relevant to which query, [J] each.

    Attributes:
        query, document: positions in the data's queries and documents. grade: above 0.
    """

    query: Tensor
    document: Tensor
    grade: Tensor

    def __len__(self) -> int:
        return len(self.query)

    def __getitem__(self, index: Tensor) -> Judgements:
        return Judgements(self.query[index], self.document[index], self.grade[index])

    @property
    def queries(self) -> list[int]:
        """Positions of the queries that have a relevant document, in order."""
        return self.query.unique().tolist()


@dataclass(frozen=True)
class Retrieval:
    """A corpus with queries in three splits. Training looks at the queries of ``train`` alone; all splits share the corpus.

    Attributes:
        documents, queries: texts; a document's title stands before its text. document_ids, query_ids: theirs.
        train, validation, test: judgements; no query is in two of them.
        notes: what was understood or left out, a line each.
        history: of each query, the utterances before it, the oldest first; empty where no query is a turn of a conversation.
        rewrites: texts that say the same as a query and stand alone, by the names of who wrote them; None where one wrote none.
    """

    documents: tuple[str, ...]
    queries: tuple[str, ...]
    document_ids: tuple[str, ...]
    query_ids: tuple[str, ...]
    train: Judgements
    validation: Judgements
    test: Judgements
    notes: tuple[str, ...] = field(default=())
    name: str = "retrieval"
    history: tuple[tuple[str, ...], ...] = ()
    rewrites: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)

    def conversation(self, query: int) -> list[str]:
        """A query and the utterances before it, the newest first."""
        return newest_first(self.queries[query], self.history[query] if self.history else ())

    def describe(self) -> list[str]:
        """Say what was understood, one finding per line."""
        parts = ", ".join(f"{len(getattr(self, n).queries)} {n}" for n in NAMES)
        words = sorted(len(text.split()) for text in self.documents)
        each = sum(len(getattr(self, n)) for n in NAMES) / max(
            sum(len(getattr(self, n).queries) for n in NAMES), 1
        )
        return [
            f"{self.name}: {len(self.documents)} documents, {words[len(words) // 2]} words each in the middle, {words[-1]} at most",
            f"queries with relevant documents: {parts}; {each:.3g} documents a query",
            *self._conversations(),
            *self.notes,
        ]

    def _conversations(self) -> list[str]:
        if not self.history and not self.rewrites:
            return []
        lengths = sorted(map(len, self.history)) or [0]
        written = ", ".join(
            f"{sum(text is not None for text in texts)} by {name}" for name, texts in self.rewrites.items()
        )
        return [
            f"conversations: {lengths[len(lengths) // 2]} earlier utterances in the middle, {lengths[-1]} at most; "
            f"rewrites: {written or 'none'}"
        ]

    def fingerprint(self) -> str:
        """Sha256 of all texts and judgements."""
        digest = hashlib.sha256()
        for text in (*self.documents, "", *self.queries, "", *self.document_ids, "", *self.query_ids):
            digest.update(f"{len(text)}:{text}".encode("utf-8", "surrogatepass"))
        for name in NAMES:
            part: Judgements = getattr(self, name)
            for each in (part.query, part.document, part.grade):
                digest.update(f"{name}{len(each)}".encode() + each.numpy().tobytes())
        for at, earlier in enumerate(self.history):
            digest.update(f"{at}:{len(earlier)}".encode())
            for text in earlier:
                digest.update(f"{len(text)}:{text}".encode("utf-8", "surrogatepass"))
        for name, texts in self.rewrites.items():
            for at, written in enumerate(texts):
                digest.update(f"{name}:{at}:{written}".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def load_retrieval(
    spec: str | Path, *, validation: float = 0.15, test: float = 0.2, seed: int = 0, limit: int | None = None
) -> Retrieval:
    """Load a BEIR folder.

    Args:
        spec: with corpus, queries and qrels.
        validation, test: shares of the queries that become these splits, where the folder has judgements of one split only; where
            it has several, a missing validation is a share of its training queries.
        seed: of that division.
        limit: as many training queries at most.

    Raises:
        CounterpointError: a part or a column is missing, an id stands twice or is unknown, a text is empty, a grade is no number.
    """
    folder = Path(spec)
    if not folder.is_dir():
        raise CounterpointError(
            f"{spec} is no folder; expected one with corpus.jsonl, queries.jsonl and qrels/test.tsv, as BEIR has them"
        )
    walked = walk(folder)
    files_of = {
        name: [file for file in walked.named(name, SUFFIXES) if len(file.name.parts) == 1]
        for name in ("corpus", "queries", TOPICS)
    }
    topics = files_of.pop(TOPICS)
    files_of["queries"] = files_of["queries"] or topics
    for name, files in files_of.items():
        if len(files) != 1:
            raise CounterpointError(
                f"{spec} has {len(files)} files named {name}; expected one, such as {name}.jsonl with '_id' and 'text'"
            )
    documents, table = (
        texts_of(read_table(files_of["corpus"][0].path)),
        queries_table(files_of["queries"][0].path),
    )
    queries = texts_of(table)
    turns = turns_of(table, list(queries))
    for file in walked.of(SUFFIXES):
        if len(file.name.parts) > 1 and file.name.parts[-2] == REWRITES:
            turns.rewrites[file.name.stem] = rewrites_of(file.path, queries)
    splits: dict[str, list[Judged]] = {}
    for file in walked.of((*SUFFIXES, *JUDGEMENTS)):
        if len(file.name.parts) < 2 or file.name.parts[-2] != "qrels":
            continue
        split = split_of(file.name.stem)
        if split is None:
            raise CounterpointError(
                f"{file.path} is of no split; expected qrels/train, qrels/dev or qrels/test"
            )
        splits[split] = splits.get(split, []) + judgements_of(file.path)
    if not splits:
        raise CounterpointError(
            f"{spec} has no judgements; expected qrels/test.tsv with query-id, corpus-id and score"
        )
    return build(
        documents, queries, splits, folder.name, walked.describe(), turns=turns,
        validation=validation, test=test, seed=seed, limit=limit,
    )  # fmt: skip


def build(
    documents: dict[str, str],
    queries: dict[str, str],
    splits: dict[str, list[Judged]],
    name: str,
    notes: Iterable[str] = (),
    *,
    turns: Turns | None = None,
    validation: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
    limit: int | None = None,
) -> Retrieval:
    """Retrieval data of texts by id and judgements by split; options as of ``load_retrieval``.

    ``turns``: what was written before the queries, and rewrites of them.

    Raises:
        CounterpointError: judgements of unknown ids, queries in two splits, shares that leave no query to train on.
    """
    lines = list(notes)
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise CounterpointError(
            f"validation={validation}, test={test}; expected shares from 0 to 1 that leave something to train on, such as 0.15 and 0.2"
        )
    for split, rows in splits.items():
        for query, document, _ in rows:
            if query not in queries or document not in documents:
                kind, key = ("query", query) if query not in queries else ("document", document)
                raise CounterpointError(
                    f"the judgements of {split} name the {kind} {key!r}, which is not in the data"
                )
    parts = _divided(splits, validation, test, seed, lines)
    if limit is not None:
        some = set(list(dict.fromkeys(query for query, _, _ in parts["train"]))[:limit])
        parts["train"] = [row for row in parts["train"] if row[0] in some]
    used: dict[str, str] = {}
    for split in NAMES:
        for query in dict.fromkeys(query for query, _, _ in parts[split]):
            if used.setdefault(query, split) != split:
                raise CounterpointError(
                    f"the query {query!r} is judged in {used[query]} and in {split}; what is tested must not have been trained on"
                )
    if not parts["train"]:
        raise CounterpointError(
            f"{name}: no query is left to train on; lower validation and test, or add judgements"
        )
    document_at, query_at = ({key: at for at, key in enumerate(each)} for each in (documents, queries))
    train, held_out, tested = (judgements_at(parts[split], query_at, document_at) for split in NAMES)
    return Retrieval(
        tuple(documents.values()),
        tuple(queries.values()),
        tuple(documents),
        tuple(queries),
        train,
        held_out,
        tested,
        notes=tuple(lines),
        name=name,
        history=tuple(turns.history.get(key, ()) for key in queries)
        if turns and any(turns.history.values())
        else (),
        rewrites={
            who: tuple(texts.get(key) for key in queries)
            for who, texts in sorted(turns.rewrites.items())
            if texts
        }
        if turns
        else {},
    )


def _divided(
    splits: dict[str, list[Judged]], validation: float, test: float, seed: int, notes: list[str]
) -> dict[str, list[Judged]]:
    """Judgements by the three splits, with grades above 0; what the data does not divide is divided by query."""
    parts = {split: [row for row in splits.get(split, []) if row[2] > 0] for split in NAMES}
    left = sum(map(len, splits.values())) - sum(map(len, parts.values()))
    if left:
        notes.append(
            f"{counted(left, 'judgement says', 'judgements say')} that a document is not relevant; what is not judged counts as that as well"
        )
    (only, *several) = [split for split in NAMES if splits.get(split)]
    wanted = {"validation": 0.0 if parts["validation"] else validation, "test": 0.0}
    source = "train"
    if not several:
        source, wanted = only, {"validation": validation, "test": test}
        notes.append(f"judgements of {only} alone: its queries are divided, with seed {seed}")
    elif not parts["train"]:
        raise CounterpointError(
            f"there are judgements of {' and '.join([only, *several])}, and none of train; give qrels/train.tsv, or one file alone, which is "
            "then divided"
        )
    rows = parts[source]
    keys = sorted({query for query, _, _ in rows})
    order = [
        keys[at] for at in torch.randperm(len(keys), generator=torch.Generator().manual_seed(seed)).tolist()
    ]
    cuts = [math.ceil(wanted[split] * len(order)) for split in ("validation", "test")]
    chosen = {"validation": set(order[: cuts[0]]), "test": set(order[cuts[0] : sum(cuts)])}
    taken = chosen["validation"] | chosen["test"]
    parts[source] = []
    parts["train"] = [row for row in rows if row[0] not in taken]
    for split, keep in chosen.items():
        parts[split] = parts[split] + [row for row in rows if row[0] in keep]
    return parts


def judgements_at(rows: Sequence[Judged], queries: dict[str, int], documents: dict[str, int]) -> Judgements:
    """Judgements by id as positions in the data."""
    return Judgements(
        torch.tensor([queries[query] for query, _, _ in rows], dtype=torch.long),
        torch.tensor([documents[document] for _, document, _ in rows], dtype=torch.long),
        torch.tensor([grade for _, _, grade in rows], dtype=torch.float64),
    )
