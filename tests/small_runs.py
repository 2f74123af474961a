"""A small model and small data for every method of the catalog, for tests that go over all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from counterpoint.methods.catalog import row
from counterpoint.tasks.task import task

DATA = {
    "images": "digits",
    "problems": "worked-sums?size=24&validation=2&test=2&digits=2",
    "preferences": "paired:backward-sums?digits=1&size=40&validation=4&test=4",
    "regression": "diabetes",
    "trajectories": "gridrobot",
    "environment": "lock",
}
MODELS = {
    "images": "conv-small",
    "problems": "characters",
    "preferences": "characters",
    "interactions": "embeddings-8",
    "regression": "mlp",
    "trajectories": "encoder-4",
    "text": "words",
    "audio": "conv-speech",
    "environment": "auto",
}
SPECIAL = {"vega": (None, "deberta"), "spr-ucb": ("CartPole-v1", "c51-8")}
SETTINGS: dict[str, dict[str, Any]] = {"coconut": {"tasks": 2, "multimodal_weight": 0}}
"""What a method needs beside its paper's settings to run on these data."""


def small(key: str, folder: Path) -> tuple[Any, Any]:
    """Model and data; files are written into ``folder`` where the kind reads files only."""
    kind = row(key).kind
    found = task(kind)
    spec, model = SPECIAL.get(key, (None, MODELS[kind]))
    spec, options = spec or DATA.get(kind, ""), {}
    if spec == "CartPole-v1":
        pytest.importorskip("gymnasium")
    if kind == "images":
        options = {"limit": 60, "evaluation_limit": 20}
    elif kind == "interactions":
        from interaction_clusters import write_clusters

        spec = str(write_clusters(folder / "ratings.tsv", "user\titem\trating\ttime", users=30))
    elif kind == "text":
        from texts_made_up import rows

        (folder / "mails.jsonl").write_text("\n".join(map(json.dumps, rows(60))))
        spec = str(folder / "mails.jsonl")
    elif kind == "audio":
        pytest.importorskip("soundfile")
        from own_clips import folder as clips

        spec, options = str(clips(folder / "clips", each=3)), {"group": "prefix", "sample_rate": 8000}
    data = found.load_data(spec, **options)
    if key == "clip":
        data = with_partners(data)
    return found.load_model(model, data, 0), data


def with_partners(data: Any) -> Any:
    """The images with a random vector beside each."""
    from dataclasses import replace

    import torch

    draw = torch.Generator().manual_seed(0)
    return replace(data, train=replace(data.train, partners=torch.randn(len(data.train), 6, generator=draw)))
