"""What text models say of texts: a classifier's labels with probabilities, an encoder's sentence vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.data.text.rows import TEXT_COLUMNS
from counterpoint.errors import UnusableRow
from counterpoint.evaluation.text import outputs
from counterpoint.models.text.encoder import TextClassifier
from counterpoint.prediction.predictor import Predictor, Row, Settings, embeddings, labels, names


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """Labels of a classifier, embeddings of an encoder."""
    columns = names(settings, TEXT_COLUMNS)

    def answer(texts: list[str]) -> list[dict[str, Any]]:
        if not isinstance(model, TextClassifier):
            return embeddings(outputs(model, texts))
        logits = outputs(model, texts, out="logits")
        several = model.multi_label
        return labels(logits.sigmoid() if several else logits.softmax(1), model.classes, several)

    return Predictor(
        what="labels" if isinstance(model, TextClassifier) else "embeddings",
        plain=TEXT_COLUMNS[0],
        read=lambda row: text_of(row, columns),
        answer=answer,
        size=256,
        columns=columns,
        endings=(".txt",),
        documents=True,
        example='["A first text.", "And a second one."]',
    )


def text_of(row: Row, columns: tuple[str, ...]) -> str:
    """The stripped text of a row.

    Raises:
        CounterpointError: none there, or no text.
    """
    text = row.cell(columns, "text")
    if not isinstance(text, str) or not text.strip():
        what = "an empty text" if isinstance(text, str) else f"{type(text).__name__}, no text"
        raise UnusableRow(f"{row.where}: {what}; mend or remove the row")
    return text.strip()
