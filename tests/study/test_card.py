"""A model card's code blocks open the model and predict as printed, for every kind of data; so does the command on the kind's files."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

import conversation_folder
import counterpoint
import small_llava
from counterpoint.cli.main import app
from counterpoint.data.tables import read_table
from counterpoint.data.walk import walk
from counterpoint.models.images.projector import Projected
from counterpoint.tasks.task import kinds
from example_files import RUNS, bare_encoder, write


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
    """What the code blocks of a run's model card leave behind, run as printed beside the files that they name."""
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", card, re.S)
    examples = {
        "picture.png": "photos/cat/0.png",
        "recording.wav": "clips/yes/ann_0.wav",
        "trajectories.jsonl": "walks/trajectories.jsonl",
    }
    for name, source in examples.items():
        shutil.copyfile(source, name)
    names: dict[str, object] = {}
    for block in blocks:
        if "sentence_transformers" in block and importlib.util.find_spec("sentence_transformers") is None:
            continue  # tests/models/sentence_pairs opens the folder with it, where it is installed
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
    run_card = opened(out)
    model_of_card = run_card["model"]
    assert isinstance(model_of_card, nn.Module)
    assert type(model_of_card).__name__ == trained
    predicts = re.search(r"^(\w+) = model\.predict", (out / "model" / "README.md").read_text(), re.M)
    assert predicts is not None
    answers = run_card[predicts[1]]
    assert isinstance(answers, list)
    assert all(len(answer) > 1 for answer in answers)
    assert answers
    _predicts_on_the_command_line(kind, out)
    files = sorted((out / "model").rglob("model.safetensors"))
    stored = sum(tensor.numel() for file in files for tensor in load_file(file).values())
    held = {tensor.data_ptr(): tensor.numel() for tensor in model_of_card.state_dict().values()}
    assert (
        sum(held.values()) >= stored > 0
    )  # every part of the folder is in the model; what is tied is stored once


WITHOUT_TARGET = {
    "text": ("mails.csv", "label"),
    "regression": ("houses.csv", "price"),
    "problems": ("problems.jsonl", "answer"),
    "preferences": ("preferences.jsonl", "chosen"),
    "interactions": ("ratings.tsv", "item"),
}
"""Tables by kind, and the column that the command is not given."""
FOLDERS = {"images": "photos", "audio": "clips", "trajectories": "walks/trajectories.jsonl"}


def _predicts_on_the_command_line(kind: str, out: Path) -> None:
    """The whole of the kind's example data, a table's without its target, in order and once."""
    if kind in WITHOUT_TARGET:
        name, target = WITHOUT_TARGET[kind]
        rows = list(read_table(Path(name)).rows())
        data = Path(f"{kind}-new.jsonl")
        data.write_text(
            "".join(json.dumps({k: v for k, v in row.items() if k != target}) + "\n" for row in rows)
        )
        count = 20 if kind == "interactions" else len(rows)  # each user once
    elif kind in FOLDERS:
        data = Path(FOLDERS[kind])
        count = {"images": 40, "audio": 24, "trajectories": 30}[kind]
    else:
        return
    answers = out / "answers.csv"
    given = [
        "predict",
        str(out),
        "--data",
        str(data),
        "--out",
        str(answers),
        "--json",
        "--max-new-tokens",
        "4",
    ]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(done.stdout)["rows"] == count
    written = list(csv.DictReader(answers.open(newline="")))
    assert len(written) == count
    if kind in FOLDERS and kind != "trajectories":
        assert [row["file"] for row in written] == [str(file.name) for file in walk(data).files]
    elif kind != "interactions":
        assert [row["row"] for row in written] == [str(number) for number in range(1, count + 1)]


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


OTHERS = {
    "conversations": ("disco", "dishes", "sparse-words", {"batch_size": 4}, "SparseRetriever"),
    "messages": ("sft", "chat.jsonl", "characters", {"lora_rank": 2, "batch_size": 4}, "LlamaForCausalLM"),
    "pictured": ("sft", "seen.jsonl", "llava", {"lora_rank": 0, "batch_size": 4}, "LlavaForConditionalGeneration"),
    "encoder": ("text-classifier", "mails.csv", "bert", {"batch_size": 8}, "TextClassifier"),
}  # fmt: skip
"""Other forms of data and of models of the same kinds: a method, its data, a model, settings, and the class that the card opens last."""


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("form", OTHERS)
def test_so_does_that_of_another_form(form: str) -> None:
    method, data, model, settings, trained = OTHERS[form]
    if form == "conversations":
        pytest.importorskip("ir_measures")
        conversation_folder.write(Path(data))
    elif form == "messages":
        said = [
            [("system", "briefly"), ("user", f"what is {n}+1"), ("assistant", f"{n + 1}")] for n in range(30)
        ]
        rows = [{"messages": [{"role": who, "content": what} for who, what in turns]} for turns in said]
        Path(data).write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "pictured":
        small_llava.write(Path(model))
        row = {"prompt": "which?", "images": ["photos/cat/0.png"], "completion": "a cat", "answer": "a cat"}
        Path(data).write_text("".join(json.dumps({**row, "prompt": f"which {n}?"}) + "\n" for n in range(24)))
    else:
        bare_encoder(Path(model))
    out = Path("runs") / form
    counterpoint.run(method, data=data, model=model, settings=settings, steps=1, out=out, progress=False)
    names = opened(out)
    assert type(names["model"]).__name__ == trained
    answers = names[{"conversations": "terms", "encoder": "labels"}.get(form, "answers")]
    assert isinstance(answers, list)
    assert answers
