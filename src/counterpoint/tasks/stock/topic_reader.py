"""The topic reader: a teacher of text classifiers, bert-tiny fine-tuned on 2,000 bundled quotations of up to 24 words.

Distillation can be tried with it without teaching a teacher in every run. Taught in about a minute on first use, then kept in
the cache. It has seen the training texts of the split that ``DATA_OPTIONS`` give and no other: students that are measured on
that split's test texts are measured on what neither has seen.
"""

from __future__ import annotations

import inspect
from typing import cast

import torch
from torch.nn.functional import cross_entropy

from counterpoint.data.text import sets
from counterpoint.models.text import folder
from counterpoint.models.text.encoder import TextClassifier, coded, with_linear_head
from counterpoint.models.text.transformer import open_transformer
from counterpoint.tasks.stock.stored import stored_as

NAME = "topic-reader"
DATA = "fortunes"
DATA_OPTIONS = {"words": 24, "limit": 2000}
ENCODER = "bert-tiny"


def load() -> TextClassifier:
    """Return the reader, taught now or taken from the cache."""
    identity = f"{DATA}/{DATA_OPTIONS}/{ENCODER}/{inspect.getsource(reader)}"
    return stored_as(
        "readers",
        NAME,
        identity,
        reader,
        lambda model, path: model.save_pretrained(path),
        lambda path: cast(TextClassifier, folder.load(path)),
    )


def reader(
    *, seed: int = 0, steps: int = 240, batch_size: int = 32, learning_rate: float = 5e-4
) -> TextClassifier:
    """Teach a fresh one; the same weights for the same seed.

    Args:
        seed: of the head, the order of texts and dropout. steps, batch_size: of AdamW. learning_rate: falls linearly.
    """
    data = sets.load(DATA, **DATA_OPTIONS)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = with_linear_head(open_transformer(ENCODER), data.classes, False, seed).train()
        labelled = data.train.with_labels()
        rows = coded(model, labelled.texts, labelled.targets, labelled.labelled)
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
        order = torch.cat([torch.randperm(len(rows)) for _ in range(1 + steps * batch_size // len(rows))])
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * min(1.0, (step + 1) / 20) * (1.0 - step / steps)
            batch = rows[order[step * batch_size : (step + 1) * batch_size]]
            loss = cross_entropy(model(batch.ids, batch.mask, out="logits"), batch.targets.argmax(1))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model.eval()
