"""Runs whose weights are in shards, killed with SIGKILL at random moments: the unbroken run's bits on as many processes, and
its figures up to rounding on another number of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from crash_harness import Command, command, complete, final_bits, killed_run, start
from safetensors.torch import load_file
from sharded_run import train

from counterpoint.training.checkpoint import Checkpoints
from counterpoint.training.internals.pace import Pace

DATA = "worked-sums?size=36&validation=4&test=4&digits=2"
SAMPLED = {"batch_size": 5, "lora_rank": 0, "learning_rate": 1e-3, "max_new_tokens": 4}
PLAIN = {"batch_size": 5, "lora_rank": 0, "learning_rate": 1e-3}
RUNS = {
    "sdft": ("sdft", SAMPLED),
    "grpo": ("grpo", {**SAMPLED, "judge": "majority", "answers": 3, "minibatches": 2}),
    "unisd": ("unisd", {**SAMPLED, "mode": "unisd_star", "agreement.retriever": "tfidf", "contrast.negatives": "other"}),
}  # fmt: skip


def on(processes: int, name: str, steps: int = 12) -> Command:
    key, settings = {**RUNS, "sft": ("sft", PLAIN)}[name]
    given = {"data": DATA, "model": "characters", "budget": {"steps": steps}}
    return Command(key, lambda out: train(out, key, settings, processes, 0.05, **given))


def check(name: str, folder: Path, trials: int, seed: int) -> int:
    """Kill the first process, with which the others die, at moments over the run; return how many kills met a running one."""
    folder.mkdir(parents=True, exist_ok=True)
    run = on(2, name)
    seconds = complete(run, folder / "unbroken")
    expected = final_bits(folder / "unbroken")
    draw = torch.Generator().manual_seed(seed)
    met = 0
    for trial in range(10 * trials):
        if met == trials:
            break
        out = folder / f"killed-{trial}"
        met += killed_run(run, out, float(torch.rand((), generator=draw)) * seconds)
        assert final_bits(out) == expected
        shutil.rmtree(out)
    return met


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(str(out / "model" / "model.safetensors"))


def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    assert check("sdft", tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_ten_kills(tmp_path: Path, name: str) -> None:
    assert check(name, tmp_path / "runs", trials=10, seed=7) == 10


@pytest.mark.slow
def test_one_that_loses_another_ends_with_a_line(tmp_path: Path) -> None:
    run, out = on(2, "sdft"), tmp_path / "run"

    def dying(folder: Path) -> object:
        save = Checkpoints.save

        def saved(self: Checkpoints, step: int, state: object) -> None:
            save(self, step, state)
            if step >= 4 and int(os.environ.get("RANK", "0")) == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        Checkpoints.save, Pace.due = saved, lambda self, step: True  # type: ignore[method-assign]
        return run(folder)

    complete(run, tmp_path / "unbroken")
    _, status = os.waitpid(start(Command(run.key, dying), out), 0)
    assert os.waitstatus_to_exitcode(status) == 1
    line = (tmp_path / "run.error").read_text()
    assert "process 0 of 2 lost another one, which was killed or failed" in line
    assert "start the same command again" in line
    assert not (out / "result.json").exists()
    complete(run, out)
    assert final_bits(out) == final_bits(tmp_path / "unbroken")


@pytest.mark.slow
def test_another_one_killed_at_a_random_moment(tmp_path: Path) -> None:
    run, out = on(2, "sdft"), tmp_path / "run"
    seconds = complete(run, tmp_path / "unbroken")
    first = start(run, out)
    until = time.monotonic() + 300
    while (
        not (out / "events.jsonl").exists() and time.monotonic() < until
    ):  # the processes have formed a group
        time.sleep(0.01)
    time.sleep(seconds / 10)
    if kill_another(first):
        assert not (out / "result.json").exists()
    complete(run, out)
    assert final_bits(out) == final_bits(tmp_path / "unbroken")


@pytest.mark.slow
def test_another_one_killed_ten_times_in_one_run(tmp_path: Path) -> None:
    run, out = on(2, "sft", steps=60), tmp_path / "run"
    complete(run, tmp_path / "unbroken")
    met = 0
    for step in range(5, 55, 5):
        began = time.time_ns()
        first = start(run, out)
        while (
            steps_of(out, since=began) < step
            and os.waitid(os.P_PID, first, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.002)
        status = kill_another(first)
        met += status != 0
        assert (status == 0) == (out / "result.json").exists()
    assert met == 10
    complete(run, out)
    assert final_bits(out) == final_bits(tmp_path / "unbroken")


def kill_another(first: int) -> int:
    """Kill the process that the first one of two has forked; return the status with which the first one ends by itself."""
    children = Path(f"/proc/{first}/task/{first}/children")
    for other in map(int, children.read_text().split() if children.exists() else ()):
        os.kill(other, signal.SIGKILL)
    _, status = os.waitpid(first, 0)
    return os.waitstatus_to_exitcode(status)


def steps_of(out: Path, since: int) -> int:
    """Steps that a run has written down; 0 where it has written nothing since a time."""
    events = out / "events.jsonl"
    if not events.exists() or events.stat().st_mtime_ns < since:
        return 0
    return len(events.read_text().splitlines())


def test_another_number_of_processes_goes_on(tmp_path: Path) -> None:
    key, settings = RUNS["sdft"]
    alone = command(key, settings, data=DATA, model="characters", budget={"steps": 12})
    complete(alone, tmp_path / "alone")
    out = tmp_path / "moved"
    for processes, steps in ((2, 4), (4, 8)):
        newest = stop_after(on(processes, "sdft"), out, steps)
        assert len(list(newest.glob("*.safetensors"))) == processes
    complete(alone, out)  # one process, which holds whole weights, ends it
    mine, expected = weights(out), weights(tmp_path / "alone")
    assert mine.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_a_run_of_one_process_goes_on_in_shards(tmp_path: Path) -> None:
    key, settings = RUNS["sdft"]
    alone = command(key, settings, data=DATA, model="characters", budget={"steps": 12})
    complete(alone, tmp_path / "alone")
    stop_after(alone, tmp_path / "moved", 4)
    complete(on(2, "sdft"), tmp_path / "moved")
    for name, value in weights(tmp_path / "alone").items():
        torch.testing.assert_close(weights(tmp_path / "moved")[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    out, run = tmp_path / "run", on(2, "sdft")
    complete(run, tmp_path / "unbroken")
    newest = stop_after(run, out, 6)
    shard = max(newest.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(bytes(content))
    complete(run, out)
    assert final_bits(out) == final_bits(tmp_path / "unbroken")
    assert "was altered or torn" in (out / "messages.log").read_text()


def stop_after(run: Command, out: Path, steps: int) -> Path:
    """Run until a checkpoint of so many steps is written, and die there; return the checkpoint."""

    def dying(folder: Path) -> object:
        save = Checkpoints.save

        def saved(self: Checkpoints, step: int, state: object) -> None:
            save(self, step, state)
            if step >= steps and int(os.environ.get("RANK", "0")) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        # Of the forked process alone. At every step: how often it would save by itself depends on the machine.
        Checkpoints.save, Pace.due = saved, lambda self, step: True  # type: ignore[method-assign]
        return run(folder)

    _, status = os.waitpid(start(Command(run.key, dying), out), 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    newest = max((out / "checkpoints").glob("step-*"))
    assert newest.name == f"step-{steps:09d}"
    return newest
