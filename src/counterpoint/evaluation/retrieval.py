"""How well an encoder's vectors find what is relevant: nDCG, recall and reciprocal rank over the whole corpus.

Q queries, C documents, D features, K the cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from counterpoint.data.retrieval.load import Judgements, Retrieval
from counterpoint.evaluation.geometry import uniformity
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.generation.rationales import embed
from counterpoint.models.retrieval.embedder import Embedder
from counterpoint.models.retrieval.sparse import SparseRetriever
from counterpoint.models.retrieval.sparse_rows import SparseRows

CUTS = (10, 100)


def retrieval_metrics(queries_QD: Tensor, documents_CD: Tensor, judged: Judgements) -> dict[str, float]:
    """``ndcg@10`` (gain is the grade, discount log2), ``recall@10``, ``recall@100`` and ``mrr@10``, means over the queries.

    Args:
        queries_QD: vectors of all the data's queries; those without a relevant document are not looked at. documents_CD: of the corpus.
        judged: grades above 0; what is not judged is not relevant. Of equal scores the earlier document comes first.

    >>> judged = Judgements(torch.tensor([0]), torch.tensor([1]), torch.tensor([1.0]))
    >>> figures = retrieval_metrics(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.9, 0.1], [0.5, 0.5]]), judged)
    >>> round(figures["ndcg@10"], 4), figures["mrr@10"], figures["recall@10"]
    (0.6309, 0.5, 1.0)
    """
    return ranking_metrics(lambda query: documents_CD @ queries_QD[query], len(documents_CD), judged)


def ranking_metrics(
    scores_of: Callable[[int], Tensor],
    documents: int,
    judged: Judgements,
    gains: tuple[int, ...] = (CUTS[0],),
) -> dict[str, float]:
    """As ``retrieval_metrics``, of scores.

    Args:
        scores_of: a query -> [C] scores. documents: C. gains: cuts of nDCG.
    """
    sums: dict[str, float] = {
        **{f"ndcg@{k}": 0.0 for k in gains},
        **{f"recall@{k}": 0.0 for k in CUTS},
        f"mrr@{CUTS[0]}": 0.0,
    }
    wanted = judged.queries
    for query in wanted:
        inside = judged.query == query
        grades = torch.zeros(documents, dtype=torch.float64)
        grades[judged.document[inside]] = judged.grade[inside].double()
        order = torch.sort(scores_of(query), descending=True, stable=True).indices.cpu()
        ranked, best = grades[order], grades.sort(descending=True).values
        for cut in gains:
            k = min(cut, len(ranked))
            discount = 1 / torch.arange(2, k + 2, dtype=torch.float64).log2()
            sums[f"ndcg@{cut}"] += float((ranked[:k] * discount).sum() / (best[:k] * discount).sum())
        for cut in CUTS:
            sums[f"recall@{cut}"] += float((ranked[:cut] > 0).sum() / inside.sum())
        hits = (ranked[: CUTS[0]] > 0).nonzero()
        sums[f"mrr@{CUTS[0]}"] += 1 / (int(hits[0]) + 1) if len(hits) else 0.0
    return {name: value / max(len(wanted), 1) for name, value in sums.items()}


def retrieval(subject: Subject[Embedder, Retrieval]) -> dict[str, float]:
    """The figures of a split, with greedy rationales where the model writes any, and the uniformity of the corpus."""
    model, data = subject.model, subject.data
    judged: Judgements = subject.part
    if not len(judged):
        return {}
    wanted = judged.queries
    vectors = embed(model, [data.queries[at] for at in wanted])
    queries = vectors.new_zeros(len(data.queries), vectors.shape[1]).index_copy(
        0, torch.tensor(wanted), vectors
    )
    documents = subject.once("documents", lambda: embed(model, data.documents))
    return retrieval_metrics(queries, documents, judged) | {"uniformity": uniformity(documents[:1000])}


def sparse_retrieval(subject: Subject[SparseRetriever, Retrieval]) -> dict[str, float]:
    """The figures of a split, with ``ndcg@3``; entries above 0 of a query (``nonzeros``), and how many products comparing one with a
    document takes on average (``flops``).
    """
    model, data = subject.model, subject.data
    judged: Judgements = subject.part
    if not len(judged):
        return {}
    wanted = judged.queries
    texts = [
        model.reading(
            data.conversation(query),
            [text for each in data.rewrites.values() if (text := each[query])],
            data.query_ids[query],
        )
        for query in wanted
    ]
    vectors = model.encode_queries([text for each in texts for text in each])
    owner = torch.arange(len(wanted)).repeat_interleave(torch.tensor([len(each) for each in texts]))
    documents: SparseRows = subject.once("documents", lambda: model.encode_documents(data.documents))
    table, position = documents.csr(), {query: at for at, query in enumerate(wanted)}

    def scores_of(query: int) -> Tensor:
        rows = vectors.rows((owner == position[query]).nonzero()[:, 0])
        return torch.from_numpy(table @ rows.dense().mean(0).numpy())

    figures = ranking_metrics(scores_of, len(documents), judged, gains=(3, CUTS[0]))
    shares = [
        torch.bincount(each.entries.long(), minlength=each.width).double() / len(each)
        for each in (vectors, documents)
    ]
    return figures | {
        "nonzeros": float(vectors.counts.double().mean()),
        "flops": float(shares[0] @ shares[1]),
    }


MEASUREMENTS: tuple[Measurement[Any, Retrieval], ...] = (
    Measurement(applies=is_a(Embedder), measure=retrieval),
    Measurement(applies=is_a(SparseRetriever), measure=sparse_retrieval),
)
