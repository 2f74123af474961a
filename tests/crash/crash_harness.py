"""Kill -9 at a random moment, run the same command again, compare every final bit.

Each run is a forked child of a process that has already imported everything, so a trial costs what the run costs. The
moment is drawn uniformly over the unbroken run's duration, so it may fall into a step, a checkpoint being written, a
stage or the saving of the model.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from counterpoint.methods.catalog import load, row
from counterpoint.study.recipe import recipe_of
from counterpoint.study.single import execute

IMPORTED: set[str] = set()
"""Kinds of data whose runs have imported in this process what they need, so that its children start at once."""


@dataclass(frozen=True)
class Command:
    """What is run into a folder, and the key of the method that it runs."""

    key: str
    run: Callable[[Path], object]

    def __call__(self, out: Path) -> object:
        return self.run(out)


def command(
    key: str,
    settings: Mapping[str, object],
    *,
    kind: str | None = None,
    given: Mapping[str, Any] = {},
    checkpoint_seconds: float = 0.1,
    **rest: Any,
) -> Command:
    """A method's run, as a command into a folder; ``rest`` are fields of its recipe, ``given`` handed-over objects."""
    recipe = recipe_of(load(key).settings(**settings), kind or row(key).kind, seed=1, **rest)
    return Command(
        key, lambda out: execute(recipe, out, progress=False, checkpoint_seconds=checkpoint_seconds, **given)
    )


def start(command: Command, out: Path) -> int:
    """Fork a child that runs the command and leaves with 0; return its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            command(out)
            status = 0
        except BaseException as error:
            (out.parent / f"{out.name}.error").write_text(repr(error))
        finally:
            os._exit(status)
    return child


def complete(command: Command, out: Path) -> float:
    """Run to the end in a child; return the seconds it took."""
    began = time.monotonic()
    _, status = os.waitpid(start(command, out), 0)
    error = out.parent / f"{out.name}.error"
    assert os.waitstatus_to_exitcode(status) == 0, error.read_text() if error.exists() else status
    return time.monotonic() - began


def killed_run(command: Command, out: Path, after: float) -> bool:
    """Start, kill -9 after some seconds, run again to the end. Returns whether the kill met a running process."""
    child = start(command, out)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    complete(command, out)
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def final_bits(out: Path) -> dict[str, object]:
    """All that must not depend on a crash: model files byte by byte, metrics, events without their times, stages.

    What was measured during training counts, too.
    """
    bits: dict[str, object] = {}
    figures = out / "training" / "figures.json"
    if figures.exists():
        bits["figures"] = _timeless(json.loads(figures.read_text()))
    for path in sorted((out / "model").rglob("*")):
        if path.is_file() and path.suffix != ".md":  # the card names seconds
            bits[str(path.relative_to(out))] = path.read_bytes()
    for path in sorted((out / "stages").rglob("*")):
        if path.is_file():
            bits[str(path.relative_to(out))] = path.read_bytes()
    for line in (out / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        event.pop("time")
        bits.setdefault("events", []).append(json.dumps(event))  # type: ignore[attr-defined]
    bits["metrics"] = json.loads((out / "result.json").read_text())["metrics"]
    return bits


def _timeless(figures: Any) -> Any:
    """Figures without those that a clock gave."""
    if isinstance(figures, dict):
        timed = ("ms_a_text", "seconds")
        return {name: _timeless(value) for name, value in figures.items() if not name.endswith(timed)}
    return [_timeless(each) for each in figures] if isinstance(figures, list) else figures


def with_samples(out: Path) -> dict[str, object]:
    """Final bits, and every sample that the run recorded."""
    path = out / "samples.jsonl"
    return final_bits(out) | ({"samples": path.read_bytes()} if path.exists() else {})


def check(command: Command, folder: Path, trials: int, seed: int) -> int:
    """Compare killed runs with the unbroken one until ``trials`` kills met a running process; return how many did."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.set_num_threads(1)
    kind = row(command.key).kind
    if kind not in IMPORTED:
        command(folder / "here")
        IMPORTED.add(kind)
    seconds = complete(command, folder / "unbroken")
    expected = with_samples(folder / "unbroken")
    assert any(name.startswith("model/") for name in expected)
    draws, met = random.Random(seed), 0
    for trial in range(10 * trials):
        if met == trials:
            break
        out = folder / f"killed-{trial}"
        after = draws.uniform(0.02, 1.0) * seconds
        if killed_run(command, out, after):
            met += 1
        else:  # over before its kill: the machine has become faster than the unbroken run found it
            seconds = min(seconds, after)
        found = with_samples(out)
        assert found.keys() == expected.keys(), (trial, found.keys() ^ expected.keys())
        for name, value in expected.items():
            assert found[name] == value, f"trial {trial}: {name} differs from the unbroken run's"
        shutil.rmtree(out)
    return met
