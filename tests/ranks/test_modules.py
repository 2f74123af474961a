"""Modules of objectives on two processes."""

from pathlib import Path

import pytest

from ranks_harness import check_two_are_one

HERE = Path(__file__).parent


@pytest.mark.slow
def test_modules_on_two_processes_are_one(tmp_path: Path) -> None:
    check_two_are_one(HERE / "module_ranks.py", tmp_path, rtol=1e-4, atol=1e-5)
