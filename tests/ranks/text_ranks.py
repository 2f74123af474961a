"""Train the text methods for a few steps; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

from counterpoint.data.text.load import build
from counterpoint.data.text.rows import Row
from counterpoint.methods.catalog import load
from counterpoint.models.text.folder import fresh_words
from counterpoint.models.text.words import vocabulary
from ranks_harness import Weights, report, short_run
from texts_made_up import rows

METHODS = {
    "labels": ("contrastive-primer", {"mix": 0.5}),
    "noise": ("contrastive-primer", {"objective": "binary_nce", "class_negatives": 2}),
    "views": ("contrastive-primer", {"objective": "ntxent", "hide": 0.2}),
    "groups": ("contrastive-primer", {"objective": "supcon", "hide": 0.2}),
    "triplets": ("contrastive-primer", {"objective": "triplet_cos", "hide": 0.2}),
    "classifier": ("text-classifier", {"dropout": 0.0}),
}


def train(out: Path) -> dict[str, Weights]:
    table = [Row(row["text"], (row["label"],), None, "row") for row in rows(90)]
    data = build(table, False, "made", labelled=0.6)
    result = {}
    for name, (key, settings) in METHODS.items():
        model = fresh_words(vocabulary(data.train.texts), 0, 1, dropout=0.0)  # dropout is each process's own
        with short_run(out / name, steps=6) as run:
            result[name] = load(key).settings(batch_size=11, **settings).fit(model, data, run).state_dict()
    return result


if __name__ == "__main__":
    report(train)
