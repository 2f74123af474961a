"""What models of numeric targets say: a number in the target's unit, or an encoder's embedding, of a table's rows or of pictures.

Rows are encoded as the model's folder says: its columns, its categories, its means for gaps. The target's column may be there or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.data.endings import PICTURES
from counterpoint.data.regression.columns import Column, encode_as
from counterpoint.data.tables import Table
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.features import features
from counterpoint.models.regression.tabular import Predictor as Head
from counterpoint.models.regression.tabular import ReadsRows
from counterpoint.prediction import images
from counterpoint.prediction.predictor import Predictor, Row, Settings, embeddings

STYLES = ("decimal commas", "commas between thousands")
"""Ways of writing numbers of which a file has one, since one and the same cell means another number in each."""


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """``prediction`` of a model with a head, ``embedding`` of an encoder alone."""
    encoder = model.encoder if isinstance(model, Head) else model
    what = "predictions" if isinstance(model, Head) else "embeddings"
    if not isinstance(encoder, ReadsRows):
        return Predictor(
            what=what,
            plain="path",
            read=images.reader(folder, settings),
            answer=lambda pictures: _answers(
                model, images.grouped(pictures, lambda pixels: _run(model, pixels))
            ),
            size=64,
            columns=images.names(settings, images.PATH_COLUMNS),
            endings=PICTURES,
            example='"picture.png"',
        )
    notes: list[str] = []
    encoded = _encoder(encoder, notes)
    return Predictor(
        what=what,
        plain="",
        read=lambda row: row,
        answer=lambda rows: _answers(model, _run(model, encoded(rows))),
        size=1024,
        example=f"[{_example(encoder)}]",
        notes=notes,
    )


def _run(model: nn.Module, inputs: Tensor) -> Tensor:
    """[N, F] features, or [N, 1] predictions in the target's own unit."""
    if not isinstance(model, Head):
        return features(model, inputs)
    offset, scale = model.unit
    return (features(model, inputs, predict=True).double() * scale + offset)[:, None]


def _answers(model: nn.Module, outputs: Tensor) -> list[dict[str, Any]]:
    if isinstance(model, Head):
        return [{"prediction": float(f"{value:.9g}")} for value in outputs[:, 0].tolist()]
    return embeddings(outputs)


def _encoder(encoder: ReadsRows, notes: list[str]) -> Callable[[Sequence[Row]], Tensor]:
    """What turns rows into [N, columns] as the model learnt them."""
    encoding = [
        Column.of(one)
        for one in encoder.encoding or [{"name": name, "fill": float("nan")} for name in encoder.columns]
    ]
    encoder.reading([name for column in encoding for name in column.names])
    styles: dict[str, str] = {}

    def encoded(rows: Sequence[Row]) -> Tensor:
        path = Path(rows[0].where.rpartition(", row ")[0] or rows[0].where)
        wanted = [
            {column.name: row.cells[column.name] for column in encoding if column.name in row.cells}
            for row in rows
        ]
        numbers = np.array([row.number for row in rows])
        table = Table(path, wanted, separator=rows[0].separator, numbers=numbers)
        made = encode_as([table], encoding, str(path))
        for note in made.notes:
            _note(note, styles, notes, path)
        if not np.isfinite(made.inputs).all():
            row = int(np.argmin(np.isfinite(made.inputs).all(1)))
            raise CounterpointError(
                f"{rows[row].where}: a gap, and the model's folder holds no value for gaps; fill it, or remove the row"
            )
        return torch.from_numpy(made.inputs)

    return encoded


def _note(note: str, styles: dict[str, str], notes: list[str], path: Path) -> None:
    """Keep what was noted of a column once; refuse a column that changes its way of writing numbers."""
    subject, _, rest = note.partition(": ")
    style = next((style for style in STYLES if rest.startswith(style)), "")
    if style and styles.setdefault(subject, style) != style:
        raise CounterpointError(
            f"{path}: {subject} has {styles[subject]} in some rows and {style} in others; write its numbers with a point and nothing else"
        )
    what = rest.split(" gaps")[-1] if " gaps" in rest else rest
    line = f"{subject}: gaps{what}" if " gaps" in rest else note
    if line not in notes and len(notes) < 50:
        notes.append(line)


def _example(encoder: ReadsRows) -> str:
    """A row as the model reads it: means, and each column's first category."""
    if not encoder.encoding:
        return repr(dict.fromkeys(encoder.columns, 0.0))
    columns = [Column.of(one) for one in encoder.encoding]
    return repr({c.name: c.values[0] if c.values else float(f"{c.fill:.4g}") for c in columns})
