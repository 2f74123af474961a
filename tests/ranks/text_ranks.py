"""Train the text methods for a few steps; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

from torch import distributed, nn

from counterpoint.data.text.load import Texts, build
from counterpoint.data.text.rows import Row
from counterpoint.methods.catalog import load
from counterpoint.models.text.encoder import with_linear_head
from counterpoint.models.text.folder import fresh_words
from counterpoint.models.text.transformer import TransformerText, fresh_transformer
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
    "distilled": ("distiller", {"loss": "mi", "mapping": "emd", "augment.mixup": True}),
    "parts": ("autodistil", {"spaces": ("layers=1-2 width=4-8/4 ratio=2-4/2 heads=1-2",)}),
    "projected": ("distiller", {"loss": "mse", "weights.hard": 1.0}),
}


def quiet(texts: tuple[str, ...], layers: int, width: int, seed: int) -> TransformerText:
    """A small encoder without dropout."""
    encoder = fresh_transformer(vocabulary(texts), layers=layers, width=width, heads=2, seed=seed)
    for part in encoder.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if hasattr(part, "dropout_prob"):
            part.dropout_prob = 0.0
    return encoder


def teacher(folder: Path, data: Texts) -> Path:
    """A larger classifier, written by the first process before any process reads it."""
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        with_linear_head(quiet(data.train.texts, 3, 16, 2), data.classes, False, 2).save_pretrained(folder)
    if distributed.is_initialized():
        distributed.barrier()
    return folder


def train(out: Path) -> dict[str, Weights]:
    table = [Row(row["text"], (row["label"],), None, "row") for row in rows(90)]
    data = build(table, False, "made", labelled=0.6)
    result = {}
    for name, (key, settings) in METHODS.items():
        with short_run(out / name, steps=6) as run:
            if key == "distiller":
                model = with_linear_head(
                    quiet(data.train.texts, 2, 8, 1), data.classes, False, 1, dropout=0.0
                )
                size = {
                    "training.batch_size": 11,
                    "training.learning_rate": 1e-3,
                    "teacher.model": str(teacher(out / f"{name}-teacher", data)),
                }
            elif key == "autodistil":
                model = quiet(data.train.texts, 2, 8, 1)
                folder = teacher(out / f"{name}-teacher", data)
                size = {"training.batch_size": 11, "training.learning_rate": 1e-3, "teacher": str(folder)}
            else:
                model = fresh_words(
                    vocabulary(data.train.texts), 0, 1, dropout=0.0
                )  # each process drops its own
                size = {"batch_size": 11}
            result[name] = load(key).settings(**size, **settings).fit(model, data, run).state_dict()
    return result


if __name__ == "__main__":
    report(train)
