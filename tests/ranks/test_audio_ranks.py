"""Two processes end with one process's weights: contrast is over the global batch, noise belongs to clips."""

from __future__ import annotations

from pathlib import Path

import pytest

from own_clips import folder
from ranks_harness import check_two_are_one

pytest.importorskip("soundfile")


def test_two_processes_are_one(tmp_path: Path) -> None:
    folder(tmp_path / "clips", each=4)
    check_two_are_one(Path(__file__).with_name("audio_ranks.py"), tmp_path)
