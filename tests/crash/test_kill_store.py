"""Kill -9 of the writer of a stored teacher: run again, it ends with the same bytes, and keeps the files that were whole."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from crash_harness import Command, complete, killed_run

from counterpoint.data.language.problems import load
from counterpoint.generation.sampler import Sampler
from counterpoint.models.language.characters import tiny
from counterpoint.pairs.demonstrations import with_demonstration
from counterpoint.teachers.answering import Answering
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.hinted import Hinted
from counterpoint.teachers.problem_store import SHARD, store_problems
from counterpoint.teachers.stored import Stored

ROWS = load(f"worked-sums?size={12 * SHARD}&validation=4&test=4").train.rows
"""Twelve files, so that most kills fall between the first and the last."""


def write(out: Path, sampled: bool) -> None:
    model = tiny(seed=0)
    teacher = Hinted(
        Answering(Frozen(model)),
        lambda row: with_demonstration(row, row.reference, "{demonstration}#{prompt}"),
    )
    how = Sampler(max_new_tokens=12) if sampled else None
    store_problems(out, teacher, model, ROWS, sampler=how)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("sampled", "trials"),
    [(True, 1), (False, 1), pytest.param(True, 10, marks=pytest.mark.slow)],
    ids=["sampled", "references", "ten"],
)
def test_a_killed_writer_goes_on_to_the_same_bytes(tmp_path: Path, sampled: bool, trials: int) -> None:
    torch.set_num_threads(1)
    command = Command("store", lambda out: write(out, sampled))
    write(tmp_path / "here", sampled)  # imports everything once
    seconds = complete(command, tmp_path / "unbroken")
    expected = contents(tmp_path / "unbroken")
    assert sum(name.startswith("shard-") for name in expected) == 12
    draws, met = random.Random(trials), 0
    for trial in range(4 * trials):
        if met == trials:
            break
        out = tmp_path / f"killed-{trial}"
        after = draws.uniform(0.02, 0.95) * seconds
        if killed_run(command, out, after):
            met += 1
        else:
            seconds = min(seconds, after)
        assert contents(out) == expected
        assert len(Stored(out).rows) == len(ROWS)
    assert met == trials
