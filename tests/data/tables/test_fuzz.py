"""Three hundred damaged files per reader, a thousand in the slow tests: only CounterpointError, in bounded time and memory. ``make fuzz`` tries more."""

import pytest

from fuzz_readers import MEGABYTES, READERS, attempt, memory


@pytest.mark.parametrize(
    "seeds", [range(300), pytest.param(range(300, 1000), marks=pytest.mark.slow)], ids=["few", "more"]
)
@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_end_in_one_line(reader, seeds, tmp_path):
    before = memory()
    for seed in seeds:
        wrong, path = attempt(reader, seed, tmp_path)
        assert not wrong, f"seed {seed}: {path.read_bytes()[:200]!r}\n{wrong}"
    assert memory() - before < MEGABYTES
