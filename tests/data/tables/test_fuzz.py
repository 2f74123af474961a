"""A thousand damaged files per reader: only CounterpointError, in bounded time and memory. ``make fuzz`` tries more."""

import pytest

from fuzz_readers import MEGABYTES, READERS, attempt, memory


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_end_in_one_line(reader, tmp_path):
    before = memory()
    for seed in range(1000):
        wrong, path = attempt(reader, seed, tmp_path)
        assert not wrong, f"seed {seed}: {path.read_bytes()[:200]!r}\n{wrong}"
    assert memory() - before < MEGABYTES
