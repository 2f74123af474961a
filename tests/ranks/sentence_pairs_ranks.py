"""Train sentence encoders for a few steps; torchrun may start several processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from counterpoint.data.sentence_pairs.items import PairRows, SentencePairs
from counterpoint.methods.catalog import load
from counterpoint.models.sentence_pairs.encoder import SentenceEncoder
from counterpoint.models.text.transformer import fresh_transformer
from example_files import SEA, TEA, questions
from ranks_harness import Weights, report, short_run

METHODS = {
    "ranked": ("multiple-negatives", {"symmetric": True, "batch_size": 11}),
    "triplets": ("sentence-triplet", {"batch_size": 11}),
    "scores": ("cosent", {"batch_size": 11}),
    "decoupled": ("dcl", {"sentences.batch_size": 11}),
    "global": ("isogclr", {"sentences.batch_size": 11, "temperature_rate": 0.3}),
    "a rank without a row": ("multiple-negatives", {"batch_size": 3}),
}


def train(out: Path) -> dict[str, Weights]:
    rows = questions()
    positives = tuple(row["positive"] for row in rows)
    train = PairRows(
        tuple(row["anchor"] for row in rows),
        (*positives[:-2], *positives[:2]),  # two texts twice, which no batch sets against one another
        tuple((row["negative"],) for row in rows),
    )
    pairs = SentencePairs(train, train, train, num_negatives=1)
    graded = replace(train, negatives=((),) * 40, scores=torch.arange(40).remainder(3) / 2)
    result = {}
    for name, (key, settings) in METHODS.items():
        encoder = SentenceEncoder(
            fresh_transformer([*TEA, *SEA, "what", "for", "coast"], layers=1, width=16, seed=1)
        )
        for part in encoder.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0  # each process drops its own
        with short_run(out / name, steps=8) as run:
            data = SentencePairs(graded, graded, graded, scored=True) if key == "cosent" else pairs
            rate = {"sentences.learning_rate" if key in ("dcl", "isogclr") else "learning_rate": 1e-3}
            trained = load(key).settings(**settings, **rate).fit(encoder, data, run)
        # No answer depends on the keys' biases: Adam walks along the rounding errors of a gradient of 0.
        result[name] = {n: value for n, value in trained.state_dict().items() if not n.endswith("key.bias")}
    return result


if __name__ == "__main__":
    report(train)
