"""What teachers score: documents and rewrites as sparse vectors, and for every query the documents that rank highest.

Each is a durable stage. Q queries, C documents, K teachers, R documents of a ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.data.retrieval.load import Retrieval
from counterpoint.data.retrieval.trec import read_run
from counterpoint.errors import CounterpointError
from counterpoint.models.retrieval.sparse_rows import SparseRows, best_first
from counterpoint.objectives.distillation.candidate_scores import Fusion, fused_scores, rescaled_scores
from counterpoint.training import Run

DOCUMENTS, QUERIES = 256, 64
"""Texts and rankings of a durable shard."""
Encode = Callable[[Sequence[str]], SparseRows]


@dataclass(frozen=True)
class Ranking:
    """Documents of one query by a teacher's scores.

    Attributes:
        documents: [R], the best first. scores: [R].
    """

    documents: Tensor
    scores: Tensor


def encoded(run: Run, name: str, encode: Encode, texts: Sequence[str]) -> SparseRows:
    """Vectors of texts, as a durable stage."""
    shards: list[dict[str, Any]] = run.stage(
        name,
        lambda shard: [encode([texts[at] for at in shard]).state()],
        over=range(len(texts)),
        size=DOCUMENTS,
    )
    return SparseRows.joined([SparseRows.from_state(each) for each in shards])


def rankings(
    run: Run,
    documents: SparseRows,
    rewrites: Sequence[SparseRows],
    relevant: Sequence[Collection[int]],
    *,
    fusion: Fusion = "mean",
    depth: int = 1000,
) -> list[Ranking]:
    """For every query the documents that any teacher has among its first ``depth``, and the relevant ones, all scored by all teachers.

    Args:
        documents: C vectors. rewrites: K times Q vectors of the queries' rewrites. relevant: documents, of each query.
        fusion: how teachers become one. depth: R at most, but for relevant documents.
    """
    table = documents.csr()

    def ranked(shard: Sequence[int]) -> list[dict[str, Tensor]]:
        shard_rows = []
        for query in shard:
            rows = [each.rows(torch.tensor([query])).dense()[0].numpy() for each in rewrites]
            scores_KC = np.stack([table @ row for row in rows])
            judged = sorted(relevant[query])
            named = np.unique(
                np.concatenate(
                    [*(best_first(row, depth) for row in scores_KC), np.array(judged, dtype=np.int64)]
                )
            )
            fused = fused_scores(torch.from_numpy(scores_KC[:, None, named]), fusion)[0].numpy()
            order = best_first(fused, len(fused))
            ranks = np.arange(len(order))
            order = order[(ranks < depth) | np.isin(named[order], judged)]
            shard_rows.append(
                {
                    "documents": torch.from_numpy(named[order]),
                    "scores": torch.from_numpy(fused[order].astype(np.float32)),
                }
            )
        return shard_rows

    rows = run.stage("teacher", ranked, over=range(len(relevant)), size=QUERIES)
    return [Ranking(row["documents"], row["scores"]) for row in rows]


def of_run_file(
    path: str,
    data: Retrieval,
    queries: Sequence[int],
    key: str,
    documents: SparseRows | None = None,
    rewrites: Sequence[SparseRows] = (),
) -> list[Ranking]:
    """The rankings of a TREC run: any retriever's, or several fused.

    Args:
        path: of the file. data, queries: whose queries they are.
        key: of the method, for messages.
        documents, rewrites: C vectors, and K times Q, whose mean scores give the range that each query's are brought to; None leaves them.

    Raises:
        CounterpointError: a training query without a ranking, a document that is not in the data.
    """
    scores = read_run(Path(path))
    at: Mapping[str, int] = {name: position for position, name in enumerate(data.document_ids)}
    result = []
    for number, query in enumerate(queries):
        name = data.query_ids[query]
        if name not in scores:
            raise CounterpointError(
                f"{key}: {path} ranks nothing for the training query {name!r}; every one needs scores, so add it, or take its judgement out"
            )
        unknown = next((document for document, _ in scores[name] if document not in at), None)
        if unknown is not None:
            raise CounterpointError(f"{key}: {path} ranks the document {unknown!r}, which is not in the data")
        some = torch.tensor([at[document] for document, _ in scores[name]], dtype=torch.long)
        values = torch.tensor([score for _, score in scores[name]])
        if documents is not None:
            mean = mean_rows(rewrites, [number])
            values = rescaled_scores(values[None], documents.rows(some).scores(mean))[0]
        result.append(Ranking(some, values))
    return result


def mean_rows(parts: Sequence[SparseRows], rows: Sequence[int]) -> Tensor:
    """[B, V] the mean of several teachers' vectors of the same queries."""
    some = torch.tensor(rows, dtype=torch.long)
    return torch.stack([each.rows(some).dense() for each in parts]).mean(0)
