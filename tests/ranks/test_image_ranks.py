"""Two processes end with one process's weights: views, contrast, weights of positives and the queue are the global batch's."""

from __future__ import annotations

from pathlib import Path

from ranks_harness import check_two_are_one


def test_two_processes_are_one(tmp_path: Path) -> None:
    check_two_are_one(Path(__file__).with_name("image_ranks.py"), tmp_path, atol=1e-5)
