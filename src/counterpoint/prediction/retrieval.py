"""Vectors of texts for retrieval, as the model's own template shows them to it, with the rationale that it writes, if any."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from torch import nn

from counterpoint.data.text.rows import TEXT_COLUMNS
from counterpoint.generation.rationales import embed
from counterpoint.models.retrieval.embedder import Embedder
from counterpoint.prediction.predictor import Predictor, Settings, embeddings, names
from counterpoint.prediction.text import text_of


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """Embeddings, of length one."""
    columns = names(settings, ("text", "query", *TEXT_COLUMNS[1:]))
    return Predictor(
        what="embeddings",
        plain="text",
        read=lambda row: text_of(row, columns),
        answer=lambda texts: embeddings(embed(cast(Embedder, model), texts)),
        size=32,
        columns=columns,
        endings=(".txt",),
        documents=True,
        example='["a query", "and a document"]',
    )
