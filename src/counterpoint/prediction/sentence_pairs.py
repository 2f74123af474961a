"""What a sentence encoder answers: a text's vector, and to a row of two texts how alike they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn

from counterpoint.data.sentence_pairs.rows import NAMED
from counterpoint.data.text.rows import TEXT_COLUMNS
from counterpoint.evaluation.sentence_pairs.measurements import sentence_vectors
from counterpoint.models.sentence_pairs.encoder import PROMPTS, SentenceEncoder
from counterpoint.prediction.predictor import Predictor, Row, Settings, embeddings, names
from counterpoint.prediction.text import text_of

ALONE = ("text", "query", "question", "anchor", *TEXT_COLUMNS[1:])


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """Embeddings of length one of texts; the similarity of the two texts of a row that has ``anchor`` and ``positive``, or ``sentence1`` and ``sentence2``."""
    encoder = cast(SentenceEncoder, model)
    columns = names(settings, ALONE)
    learnt = [settings.learnt[:2]] if len(settings.learnt) > 1 else []
    pairs = [] if settings.column else [*learnt, *NAMED]

    def read(row: Row) -> tuple[str, ...]:
        for pair in pairs:
            if all(name in row.cells for name in pair):
                return tuple(text_of(row, (name,)) for name in pair)
        return (text_of(row, columns),)

    def answer(rows: list[tuple[str, ...]]) -> list[dict[str, Any]]:
        alone = [row[0] for row in rows if len(row) == 1]
        vectors = iter(embeddings(sentence_vectors(encoder, alone)) if alone else [])
        both = [row for row in rows if len(row) == 2]
        if both:
            first, second = (
                sentence_vectors(encoder, [row[side] for row in both], PROMPTS[side]) for side in (0, 1)
            )
            alike = iter((first * second).sum(-1).tolist())
        return [
            {"similarity": float(f"{next(alike):.6f}")} if len(row) == 2 else next(vectors) for row in rows
        ]

    return Predictor(
        what="embeddings",
        plain="text",
        read=read,
        answer=answer,
        size=128,
        columns=(*columns, *(name for pair in pairs for name in pair)),
        endings=(".txt",),
        documents=True,
        example='["a first sentence", "and a second one"]',
    )
