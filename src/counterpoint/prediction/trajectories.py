"""Embeddings of trajectories, and rewards where one was learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from counterpoint.data.trajectories.files import matrix_of, resampled
from counterpoint.errors import CounterpointError
from counterpoint.models.trajectories.encoder import TrajectoryEncoder
from counterpoint.prediction.predictor import Predictor, Row, Settings, embeddings, names


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """Embeddings; ``reward`` beside them, where the model learnt one: it compares trajectories, its zero means nothing."""
    encoder = cast(TrajectoryEncoder, model)
    rewarded = bool(encoder.reward.any())
    notes: list[str] = []

    def read(row: Row) -> Tensor:
        states = matrix_of(row.cell(names(settings, ("states",)), "states"), row.where)
        count, rest = divmod(encoder.inputs, states.shape[1])
        if rest or not count:
            raise CounterpointError(
                f"{row.where}: states of {states.shape[1]} numbers; the model reads {encoder.inputs} in all, a whole number of states"
            )
        if len(states) != count:
            note = f"trajectories of another length were resampled to {count} states"
            notes.extend([] if note in notes else [note])
            states = resampled(states, count)
        return states.flatten()

    @torch.no_grad()
    def answer(rows: list[Tensor]) -> list[dict[str, Any]]:
        inputs = torch.stack(rows).to(encoder.mean.device)
        given = embeddings(encoder(inputs))
        if rewarded:
            for one, value in zip(given, encoder.score(inputs).tolist(), strict=True):
                one["reward"] = value
        return given

    return Predictor(
        what="embeddings and rewards" if rewarded else "embeddings",
        plain="",
        read=read,
        answer=answer,
        size=1024,
        example='"trajectories.jsonl"',
        notes=notes,
    )
