"""The streaming writer gives safetensors' own files, and their sha256."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from counterpoint.errors import CounterpointError
from counterpoint.training import tree
from counterpoint.training.durable import MANIFEST, damage, write_folder
from counterpoint.training.tensor_file import TYPES, write_tensors


def every_type() -> dict[str, torch.Tensor]:
    return {
        f"{name}/ü {n}": torch.arange(6).view(2, 3).to(kind) for n, (kind, name) in enumerate(TYPES.items())
    }


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {
            "a": torch.randn(3, 4),
            "scalar": torch.tensor(2.5),
            "none": torch.empty(0, 3),
            "b": torch.ones(2, dtype=torch.bool),
        },
        {
            f"w{n}": torch.randn(n + 1).to([torch.float32, torch.float64, torch.bfloat16][n % 3])
            for n in range(12)
        },
    ],
)
def test_the_values_are_those_that_safetensors_reads(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    digest = write_tensors(tensors, tmp_path / "ours")
    assert digest == hashlib.sha256((tmp_path / "ours").read_bytes()).hexdigest()
    again = load_file(tmp_path / "ours")
    assert again.keys() == tensors.keys()
    for name, value in tensors.items():
        assert again[name].dtype == value.dtype
        assert torch.equal(again[name], value)
    save_file(tensors, tmp_path / "theirs")
    assert (tmp_path / "ours").stat().st_size == (tmp_path / "theirs").stat().st_size


def test_one_type_gives_the_bytes_of_save_file(tmp_path: Path) -> None:
    tensors = {name: torch.randn(4, 5) for name in ("b", "a/c", "a")}
    write_tensors(tensors, tmp_path / "ours")
    save_file(tensors, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_every_type_and_layout_comes_back(tmp_path: Path) -> None:
    tensors = every_type() | {"turned": torch.randn(3, 4).T, "part": torch.arange(10.0)[2:9:3]}
    write_tensors(tensors, tmp_path / "file")
    again = load_file(tmp_path / "file")
    for name, value in tensors.items():
        assert torch.equal(
            again[name].reshape(-1).view(torch.uint8), value.contiguous().reshape(-1).view(torch.uint8)
        ), name


def test_a_type_that_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="cannot save 'z' of type torch.complex128"):
        write_tensors({"z": torch.zeros(1, dtype=torch.complex128)}, tmp_path / "file")


def test_a_checkpoint_is_read_once_and_still_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint.training import durable

    read: list[str] = []
    kept = durable.checksum
    monkeypatch.setattr(durable, "checksum", lambda path: (read.append(path.name), kept(path))[1])
    shared = torch.randn(4)
    state = {"a": shared, "tied": shared, "n": 3}
    write_folder(tmp_path / "state", lambda folder: tree.write(state, folder))
    assert tree.TENSORS not in read
    assert damage(tmp_path / "state") is None
    again = tree.read(tmp_path / "state")
    assert torch.equal(again["a"], shared)
    assert torch.equal(again["tied"], shared)
    with (tmp_path / "state" / tree.TENSORS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    assert "altered or torn" in str(damage(tmp_path / "state"))
    assert (tmp_path / "state" / MANIFEST).exists()
