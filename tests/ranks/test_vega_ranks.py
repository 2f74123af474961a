"""Two processes end with one process's weights, through all phases of Vega."""

from __future__ import annotations

from pathlib import Path

from ranks_harness import check_two_are_one


def test_two_processes_are_one(tmp_path: Path) -> None:
    check_two_are_one(Path(__file__).with_name("vega_ranks.py"), tmp_path)
