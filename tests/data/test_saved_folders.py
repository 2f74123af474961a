"""Folders that the datasets library saved, under every kind that reads tables: class names, splits, rows, damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterpoint.errors import CounterpointError
from counterpoint.tasks import recognise
from counterpoint.tasks.task import task

datasets = pytest.importorskip("datasets")

LABEL = datasets.ClassLabel(names=["neg", "pos"])
TEXTS = [f"word{n % 7} tea {n}" for n in range(40)]


@pytest.fixture(autouse=True)
def quiet() -> None:
    datasets.disable_progress_bars()


def load(path: Path, **options: Any) -> Any:
    """As a command would: recognised, then loaded."""
    kind = recognise.kind_of(str(path))
    return task(kind).load_data(str(path), **options)


def saved(path: Path, columns: dict[str, list[Any]], **features: Any) -> Path:
    """One data set."""
    given = datasets.Features(features) if features else None
    datasets.Dataset.from_dict(columns, features=given).save_to_disk(str(path))
    return path


TEXT = {"text": datasets.Value("string")}


def test_class_names_stay_also_shuffled_in_parts_with_gaps_and_in_lists(tmp_path: Path) -> None:
    labels = [n % 2 for n in range(40)]
    plain = saved(tmp_path / "plain", {"text": TEXTS, "label": labels}, **TEXT, label=LABEL)
    assert sorted(load(plain).classes) == ["neg", "pos"]
    whole = datasets.load_from_disk(str(plain))
    whole.shuffle(seed=1).save_to_disk(str(tmp_path / "shuffled"))
    whole.save_to_disk(str(tmp_path / "parts"), num_shards=3)
    for name in ("shuffled", "parts"):
        mine = load(tmp_path / name)
        texts = [text for split in (mine.train, mine.validation, mine.test) for text in split.texts]
        assert sorted(texts) == sorted(TEXTS)
        assert sorted(load(tmp_path / name).classes) == ["neg", "pos"]
    gaps = [(None if n % 5 == 0 else -1 if n % 5 == 1 else n % 2) for n in range(40)]
    data = load(saved(tmp_path / "gaps", {"text": TEXTS, "label": gaps}, **TEXT, label=LABEL))
    assert sorted(data.classes) == ["neg", "pos"]
    several = saved(
        tmp_path / "several",
        {"text": TEXTS, "label": [[n % 2, 1 - n % 2] if n % 3 else [n % 2] for n in range(40)]},
        **TEXT,
        label=datasets.List(LABEL),
    )
    assert sorted(load(several).classes) == ["neg", "pos"]


def test_names_in_another_order_in_each_split_are_the_same_classes(tmp_path: Path) -> None:
    other = datasets.Features({**TEXT, "label": datasets.ClassLabel(names=["pos", "neg"])})
    train = datasets.Dataset.from_dict(
        {"text": TEXTS, "label": [n % 2 for n in range(40)]},
        features=datasets.Features({**TEXT, "label": LABEL}),
    )
    test = datasets.Dataset.from_dict(
        {"text": [f"z{n}" for n in range(10)], "label": [0] * 10}, features=other
    )
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(str(tmp_path / "dict"))
    data = load(tmp_path / "dict")
    assert {data.classes[int(label)] for label in np.ravel(data.test.labels)} == {"pos"}


def test_conversations_and_interactions(tmp_path: Path) -> None:
    talks = [[{"role": "user", "content": str(n)}, {"role": "assistant", "content": "x"}] for n in range(40)]
    assert len(load(saved(tmp_path / "talks", {"messages": talks}), validation=0, test=0).train) == 40
    columns = {
        "user_id": [n % 8 for n in range(80)],
        "item_id": [n * 7 % 13 for n in range(80)],
        "rating": [4] * 80,
    }
    data = load(saved(tmp_path / "ratings", columns))
    assert (len(data.users), len(data.items)) == (8, 13)
    part = {name: values[:40] for name, values in columns.items()}
    rest = {name: values[40:] for name, values in columns.items()}
    parts = {"train": datasets.Dataset.from_dict(part), "test": datasets.Dataset.from_dict(rest)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "split"))
    split = task("interactions").load_data(str(tmp_path / "split"), validation=0)
    assert len(split.train) == 40
    datasets.DatasetDict({"first": parts["train"]}).save_to_disk(str(tmp_path / "odd"))
    with pytest.raises(CounterpointError, match="holds first; expected train and test"):
        task("interactions").load_data(str(tmp_path / "odd"))


def test_a_picture_that_is_missing_is_named_by_its_row_and_damage_is_one_line(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.fromarray(np.full((16, 16, 3), 6 * n, np.uint8)) for n in range(40)]
    features = {"image": datasets.Image(), "label": LABEL}
    labels = [n % 2 for n in range(40)]
    whole = saved(tmp_path / "whole", {"image": pictures, "label": labels}, **features)
    assert sorted(load(whole).classes) == ["neg", "pos"]
    missing = [None if n == 3 else each for n, each in enumerate(pictures)]
    path = saved(tmp_path / "gap", {"image": missing, "label": labels}, **features)
    with pytest.raises(CounterpointError, match="gap, row 4: no image in the column 'image'"):
        task("images").load_data(str(path))
    (whole / "state.json").write_text("{")
    with pytest.raises(CounterpointError, match="not a readable folder of the datasets library") as error:
        task("images").load_data(str(whole))
    assert "\n" not in str(error.value)
