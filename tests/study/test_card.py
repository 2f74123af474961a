"""A model card's code block opens the model as printed, for every kind of data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

import counterpoint
from counterpoint.tasks.task import kinds
from example_files import write

RUNS = {
    "images": ("simclr", "photos", "conv-small", {}, {"batch_size": 8}),
    "audio": ("audio-classifier", "clips", "conv-speech", {"group": "prefix"}, {"batch_size": 8}),
    "text": ("text-classifier", "mails.csv", "words", {}, {"batch_size": 8}),
    "problems": ("sft", "problems.jsonl", "characters", {}, {"lora_rank": 0}),
    "preferences": ("dpo", "preferences.jsonl", "characters", {}, {"lora_rank": 0}),
    "interactions": ("lightgcn", "ratings.tsv", "embeddings-8", {}, {}),
    "regression": ("regression", "houses.csv", "mlp", {"target": "price"}, {"batch_size": 8}),
    "trajectories": ("trajectory-vae", "walks", "encoder-4", {}, {}),
    "environment": ("contrastive-ucb", "lock", "auto", {}, {"rounds": 3}),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("PIL.Image")
    folder, before = tmp_path_factory.mktemp("cards"), Path.cwd()
    write(folder)
    os.chdir(folder)
    yield folder
    os.chdir(before)


def test_every_kind_is_tried() -> None:
    assert set(RUNS) == set(kinds()) - {"toy"}


def opened(run: Path) -> dict[str, object]:
    """What the code block of a run's model card leaves behind."""
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", card, re.S)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    return names


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", RUNS)
def test_the_code_block_opens_the_model(kind: str) -> None:
    method, data, model, options, settings = RUNS[kind]
    out = Path("runs") / kind
    counterpoint.run(
        method,
        data=data,
        data_options=options,
        model=model,
        settings=settings,
        steps=2,
        out=out,
        progress=False,
    )
    found = opened(out)["model"]
    assert isinstance(found, nn.Module)
    assert sum(p.numel() for p in found.parameters())


@pytest.mark.usefixtures("here")
def test_a_transformers_vision_folder_is_opened_by_its_class() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained("resnet")
    counterpoint.run(
        "simclr",
        data="photos",
        model="resnet",
        settings={"batch_size": 8},
        steps=2,
        out="runs/resnet",
        progress=False,
    )
    assert isinstance(opened(Path("runs/resnet"))["model"], transformers.ResNetModel)
