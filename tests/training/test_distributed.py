"""Batch 8 = 4 micro-batches of 2 = 2 processes of 4: same losses, same weights, ragged masks and contrast included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ranks_harness import launch

SCRIPT = Path(__file__).with_name("ragged_fit.py")


def fitted(out: Path, processes: int, *names: str, launcher: str = "torchrun") -> dict[str, dict[str, Any]]:
    """What a launch made of every BATCHxMICRO: processes start once for all."""
    launch(SCRIPT, out, processes, *names, launcher=launcher)
    return {name: json.loads((out / name / "result.json").read_text()) for name in names}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return fitted(tmp_path_factory.mktemp("alone") / "one", 1, "8x0", "8x2", "8x3", "5x0")


def same(result: dict[str, Any], whole: dict[str, Any]) -> None:
    torch.testing.assert_close(result["losses"], whole["losses"], rtol=1e-11, atol=1e-12)
    for name, value in whole["weights"].items():
        torch.testing.assert_close(
            torch.tensor(result["weights"][name]).double(),
            torch.tensor(value).double(),
            rtol=1e-9,
            atol=1e-11,
        )


@pytest.mark.parametrize("micro", [2, 3])
def test_micro_batches(alone: dict[str, dict[str, Any]], micro: int) -> None:
    same(alone[f"8x{micro}"], alone["8x0"])


@pytest.mark.parametrize("launcher", ["torchrun", pytest.param("accelerate", marks=pytest.mark.slow)])
def test_two_processes(tmp_path: Path, alone: dict[str, dict[str, Any]], launcher: str) -> None:
    result = fitted(tmp_path / "two", 2, "8x0", "8x3", "5x0", launcher=launcher)
    assert [each["world"] for each in result.values()] == [2, 2, 2]
    same(result["8x0"], alone["8x0"])
    same(result["8x3"], alone["8x0"])
    same(result["5x0"], alone["5x0"])  # its last batch is one row: one process has none
