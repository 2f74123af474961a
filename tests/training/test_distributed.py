"""Batch 8 = 4 micro-batches of 2 = 2 processes of 4: same losses, same weights, ragged masks and contrast included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ranks_harness import launch

SCRIPT = Path(__file__).with_name("ragged_fit.py")


def fitted(out: Path, processes: int, size: int = 8, micro: int = 0, launcher: str = "torchrun") -> dict:
    launch(SCRIPT, out, processes, size, micro, launcher=launcher)
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return fitted(tmp_path_factory.mktemp("whole") / "one", 1)


def same(result: dict, whole: dict) -> None:
    torch.testing.assert_close(result["losses"], whole["losses"], rtol=1e-11, atol=1e-12)
    for name, value in whole["weights"].items():
        torch.testing.assert_close(
            torch.tensor(result["weights"][name]).double(),
            torch.tensor(value).double(),
            rtol=1e-9,
            atol=1e-11,
        )


@pytest.mark.parametrize("micro", [2, 3])
def test_micro_batches(tmp_path: Path, whole: dict, micro: int) -> None:
    same(fitted(tmp_path / "micro", 1, micro=micro), whole)


@pytest.mark.parametrize(
    ("launcher", "micro"),
    [pytest.param("torchrun", 0, marks=pytest.mark.slow), ("torchrun", 3), ("accelerate", 0)],
)
def test_two_processes(tmp_path: Path, whole: dict, launcher: str, micro: int) -> None:
    result = fitted(tmp_path / "two", 2, micro=micro, launcher=launcher)
    assert result["world"] == 2
    same(result, whole)


def test_two_processes_with_uneven_batches(tmp_path: Path) -> None:
    same(fitted(tmp_path / "two", 2, size=5), fitted(tmp_path / "one", 1, size=5))
