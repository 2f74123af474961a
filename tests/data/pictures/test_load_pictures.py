"""Pictures with prompts: classes, groups of classes, captions or none; and what cannot be read as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from counterpoint.data.pictures.load import load_pictures
from counterpoint.errors import CounterpointError
from counterpoint.pairs.picture_prompts import prompted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    g, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "x.npz"
    labels = np.arange(60) % 3
    np.savez(
        path,
        images=g.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8),
        labels=np.array(["a", "b", "c"])[labels],
    )
    return path


def test_classes_are_prompts(folder: Path) -> None:
    data = load_pictures(folder)
    assert (data.by, data.names) == ("classes", ("a", "b", "c"))
    assert torch.equal(data.train.prompts, data.train.images.labels)
    row = data.train[torch.tensor([3, 5])]
    assert row.pixels.shape == (2, 1, 8, 8)
    assert torch.equal(row.prompts, data.train.images.labels[[3, 5]])
    assert any("3 prompts: a (" in line for line in data.describe())


def test_groups_of_classes_are_prompts_and_the_rest_has_none(folder: Path) -> None:
    data = load_pictures(folder, prompts="first = a ; last= c")
    assert data.names == ("first", "last")
    assert data.prompt_of_class == (0, -1, 1)
    for label, prompt in zip(data.train.images.labels.tolist(), data.train.prompts.tolist()):
        assert prompt == (0, -1, 1)[label]
    fakes = prompted(data, fakes=True).train.fakes
    assert fakes is not None
    assert {(p, f) for p, f in zip(data.train.prompts.tolist(), fakes.tolist())} == {(0, 2), (1, 3), (-1, -1)}


def test_another_choice_of_prompts_is_another_fingerprint(folder: Path) -> None:
    given = [load_pictures(folder, prompts=p) for p in ("classes", "none", "x=a,b; y=c")]
    assert len({each.fingerprint() for each in given}) == 3
    assert load_pictures(folder).fingerprint() == given[0].fingerprint()
    assert given[1].train.prompts.unique().tolist() == [-1]
    assert any("no prompts" in line for line in given[1].describe())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": "x"}, "expected one of auto, classes"),
        ({"prompts": "x="}, "groups of classes"),
        ({"prompts": "x=a; x=b"}, "groups of classes"),
        ({"prompts": "x=a; y=a"}, "in two groups"),
        ({"prompts": "x=aa"}, "did you mean 'a'|no class 'aa'"),
        ({"prompts": "captions"}, "captions.csv"),
        ({"samples": 3}, "at least 10"),
    ],
)
def test_wrong_options_are_refused(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        load_pictures(folder, **options)


def test_images_without_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8))
    assert load_pictures(tmp_path / "x.npy").by == "none"
    with pytest.raises(CounterpointError, match="no labels"):
        load_pictures(tmp_path / "x.npy", prompts="classes")
