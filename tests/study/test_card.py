"""A model card's code block opens the model as printed, for every kind of data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import nn

import counterpoint
from counterpoint.models.images.projector import Projected
from counterpoint.tasks.task import kinds
from example_files import RUNS, write


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
    method, data, model, options, settings, trained = RUNS[kind]
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
    model_of_card = opened(out)["model"]
    assert isinstance(model_of_card, nn.Module)
    assert type(model_of_card).__name__ == trained
    files = sorted((out / "model").rglob("model.safetensors"))
    stored = sum(tensor.numel() for file in files for tensor in load_file(file).values())
    held = {tensor.data_ptr(): tensor.numel() for tensor in model_of_card.state_dict().values()}
    assert (
        sum(held.values()) >= stored > 0
    )  # every part of the folder is in the model; what is tied is stored once


@pytest.mark.usefixtures("here")
def test_a_transformers_vision_folder_comes_back_with_its_projector() -> None:
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
    found = opened(Path("runs/resnet"))["model"]
    assert isinstance(found, Projected)  # the whole: a class of transformers would open the encoder alone
    assert isinstance(found.encoder.net, transformers.ResNetModel)
