"""How well an encoder's vectors find what is relevant: nDCG, recall and reciprocal rank over the whole corpus.

Q queries, C documents, D features, K the cut.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from counterpoint.data.retrieval.load import Judgements, Retrieval
from counterpoint.evaluation.geometry import uniformity
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.generation.rationales import embed
from counterpoint.models.retrieval.embedder import Embedder

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
    sums: dict[str, float] = {
        f"ndcg@{CUTS[0]}": 0.0,
        **{f"recall@{k}": 0.0 for k in CUTS},
        f"mrr@{CUTS[0]}": 0.0,
    }
    wanted = judged.queries
    for query in wanted:
        inside = judged.query == query
        grades = torch.zeros(len(documents_CD), dtype=torch.float64)
        grades[judged.document[inside]] = judged.grade[inside].double()
        order = torch.sort(documents_CD @ queries_QD[query], descending=True, stable=True).indices.cpu()
        ranked, best = grades[order], grades.sort(descending=True).values
        k = min(CUTS[0], len(ranked))
        discount = 1 / torch.arange(2, k + 2, dtype=torch.float64).log2()
        sums[f"ndcg@{CUTS[0]}"] += float((ranked[:k] * discount).sum() / (best[:k] * discount).sum())
        for cut in CUTS:
            sums[f"recall@{cut}"] += float((ranked[:cut] > 0).sum() / inside.sum())
        hits = (ranked[:k] > 0).nonzero()
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


MEASUREMENTS: tuple[Measurement[Any, Retrieval], ...] = (
    Measurement(applies=is_a(Embedder), measure=retrieval),
)
