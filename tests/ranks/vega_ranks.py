"""Train Vega through all its phases for a few steps; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

import torch

from counterpoint.data.text.load import build
from counterpoint.data.text.rows import Row
from counterpoint.methods.catalog import load
from counterpoint.models.text.disentangled import fresh_disentangled
from counterpoint.models.text.encoder import with_linear_head
from ranks_harness import Weights, report, short_run

KEYS = ("vega",)
WORDS = {"tea": "kettle cup leaf warm", "sea": "wave salt boat storm"}


def train(out: Path) -> dict[str, Weights]:
    draw = torch.Generator().manual_seed(0)
    rows = []
    for number in range(80):
        label = list(WORDS)[number % 2]
        pool = [*WORDS[label].split(), "the", "of"]
        length = int(torch.randint(3, 8, (), generator=draw))
        text = " ".join(pool[i] for i in torch.randint(len(pool), (length,), generator=draw).tolist())
        rows.append(Row(text, (label,), None, f"row {number}"))
    data = build(rows, False, "made", labelled=30)
    words = sorted({word for text in data.train.texts for word in text.split()})
    # Dropout is drawn on each rank by itself, so it is off here.
    encoder = fresh_disentangled(words, width=16, heads=2, layers=2, reach=4, limit=16, seed=1, dropout=0.0)
    model = with_linear_head(encoder, data.classes, False, 1, dropout=0.0)
    settings = {
        "batch_size": 7,
        "calibration.folds": 2,
        "learning_rate": 1e-3,
        "transduction.threshold": 0.3,
        "transduction.inputs": "unlabelled",
    }
    with short_run(out / "run", steps=12) as run:
        trained = load("vega").settings(**settings).fit(model, data, run)
    return {"vega": trained.encoder.state_dict()}


if __name__ == "__main__":
    report(train)
