"""Two processes stop together where one stops, and know the same best step."""

from __future__ import annotations

from pathlib import Path

from ranks_harness import launch


def test_two_processes_stop_together(tmp_path: Path) -> None:
    launch(Path(__file__).with_name("evaluator_ranks.py"), tmp_path / "two", 2)
    texts = [(tmp_path / "two" / f"rank-{rank}.txt").read_text() for rank in (0, 1)]
    assert texts == ["2 8 0.9 4 True"] * 2
