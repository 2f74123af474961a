"""A folder as BEIR has them: its whole corpus is ranked for every query that the test split judges. Nothing of it is trained on.

N texts, D features.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from counterpoint.data.retrieval.load import Retrieval
from counterpoint.data.retrieval.test_split import load_test
from counterpoint.evaluation.benchmarks.encoding import encoder_of
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.retrieval import MEASUREMENTS, retrieval_metrics
from counterpoint.models.retrieval.embedder import Embedder
from counterpoint.models.retrieval.sparse import SparseRetriever

RANKING = ("ndcg@", "recall@", "mrr@")


def require(task: str, name: str) -> None:
    """See that the folder can be read.

    Raises:
        CounterpointError: it cannot.
    """
    load_test(Path(task))


def require_model(model: nn.Module, name: str) -> None:
    """See that the model ranks texts.

    Raises:
        CounterpointError: it gives no vectors of texts.
    """
    if not isinstance(model, SparseRetriever):
        encoder_of(model, name)


def figures(model: nn.Module, task: str, name: str) -> dict[str, float]:
    """``ndcg@10``, ``recall@10``, ``recall@100`` and ``mrr@10``, as of our own retrieval data; by cosine for an encoder of texts."""
    data = load_test(Path(task))
    if isinstance(model, Embedder | SparseRetriever):
        measures = measured(MEASUREMENTS, model, data, "test")
    else:
        measures = _by_cosine(model, data, name)
    return {metric: value for metric, value in measures.items() if metric.startswith(RANKING)}


def _by_cosine(model: nn.Module, data: Retrieval, name: str) -> dict[str, float]:
    encode = encoder_of(model, name)
    documents_ND = encode(data.documents)
    queries_ND = documents_ND.new_zeros(len(data.queries), documents_ND.shape[1])
    wanted = data.test.queries
    queries_ND[wanted] = encode([data.queries[at] for at in wanted])
    return retrieval_metrics(queries_ND, documents_ND, data.test)
