"""Vectors of texts for retrieval: an embedder's, as its own template shows them to it, with the rationale that it writes, if any; and a
sparse retriever's of queries, as the words of the vocabulary with their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn

from counterpoint.data.text.rows import TEXT_COLUMNS
from counterpoint.generation.rationales import embed
from counterpoint.models.retrieval.embedder import Embedder
from counterpoint.models.retrieval.sparse import SparseRetriever
from counterpoint.prediction.predictor import Predictor, Settings, embeddings, names, numbers
from counterpoint.prediction.text import text_of


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """Embeddings, of length one; of a sparse retriever what its encoder of queries gives."""
    columns = names(settings, ("text", "query", *TEXT_COLUMNS[1:]))
    sparse = isinstance(model, SparseRetriever)

    def answer(texts: list[str]) -> list[dict[str, Any]]:
        return (
            terms(model, texts)
            if isinstance(model, SparseRetriever)
            else embeddings(embed(cast(Embedder, model), texts))
        )

    return Predictor(
        what="terms with their weights" if sparse else "embeddings",
        plain="text",
        read=lambda row: text_of(row, columns),
        answer=answer,
        size=32,
        columns=columns,
        endings=(".txt",),
        documents=True,
        example='["a query", "and another"]' if sparse else '["a query", "and a document"]',
    )


def terms(model: SparseRetriever, texts: list[str]) -> list[dict[str, Any]]:
    """The entries of each query's vector that are not 0, the heaviest first, as the tokenizer writes them."""
    rows = model.encode_queries([model.queries.joined([text]) for text in texts])
    order = [slice(start, end) for start, end in zip(rows.starts[:-1].tolist(), rows.starts[1:].tolist())]
    answers = []
    for part in order:
        weights, by_weight = rows.values[part].sort(descending=True, stable=True)
        words = model.queries.tokenizer.convert_ids_to_tokens(rows.entries[part][by_weight].tolist())
        answers.append({"terms": list(words), "weights": numbers(weights[None])[0]})
    return answers
