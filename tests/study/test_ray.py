"""Studies on a Ray cluster of this machine: the same bytes as local processes', also when a worker is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import counterpoint
from counterpoint.errors import CounterpointError
from counterpoint.study.executors.cluster import Ray

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    yield
    ray.shutdown()


def study(out: Path, jobs: int | Ray, steps: int = 4, seeds: int = 3) -> dict:
    return counterpoint.compare(
        ["simclr", "dcl"], data="digits", out=out, seeds=seeds, steps=steps, jobs=jobs, trials=0
    )


def figures(summary: dict) -> dict:
    """All but what a clock and the memory's meter say, when it ended, and the digest of these."""
    content = {name: value for name, value in summary.items() if name not in ("finished", "seal")}
    for arm in content["arms"].values():
        del arm["cost"]
        for run in arm["runs"]:
            del run["cost"]
            run["spent"].pop("seconds", None)
    return content


def test_a_killed_worker_is_started_again_and_nothing_changes(tmp_path: Path) -> None:
    expected = figures(study(tmp_path / "local", 1))
    victims: list[int] = []

    def kill() -> None:
        run = tmp_path / "ray" / "runs"
        while not list(run.glob("*/seed-*/.lock")):
            time.sleep(0.05)

        for process in workers():
            victims.append(process)
            os.kill(process, signal.SIGKILL)
            return

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    summary = study(tmp_path / "ray", Ray(at_once=2))
    thread.join(timeout=5)
    assert victims
    assert json.dumps(figures(summary), sort_keys=True) == json.dumps(expected, sort_keys=True)


@pytest.mark.slow
def test_twelve_runs_and_a_worker_killed_in_the_middle(tmp_path: Path) -> None:
    """As a person starts it: a comparison of three methods with four seeds, in processes of this machine and on Ray."""
    study = [
        sys.executable, "-m", "counterpoint", "compare", "simclr", "dcl", "sla", "--data", "digits", "--seeds", "4", "--steps", "60",
        "--trials", "0", "--jobs", "2",
    ]  # fmt: skip
    given = {"env": os.environ | {"OMP_NUM_THREADS": "1"}, "stdout": subprocess.DEVNULL}
    subprocess.run([*study, "--out", str(tmp_path / "local")], check=True, timeout=1200, **given)
    out = tmp_path / "ray"
    driver = subprocess.Popen([*study, "--executor", "ray", "--out", str(out)], **given)
    victim = None
    while victim is None and driver.poll() is None:
        time.sleep(0.02)
        if 4 <= len(list(out.glob("runs/*/*/result.json"))) <= 8:
            victim = killed_at_work(out, lambda folder: len(events(folder)) >= 10)
    assert driver.wait(timeout=1200) == 0
    assert victim is not None, "no run was killed: nothing would be seen"
    began = [line for line in (victim / "sessions.jsonl").read_text().splitlines() if '"start"' in line]
    assert len(began) == 2  # this run alone was begun again
    once = [folder for folder in out.glob("runs/*/*") if folder != victim]
    assert len(once) == 11
    assert all((folder / "sessions.jsonl").read_text().count('"start"') == 1 for folder in once)
    one, other = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("local", "ray"))
    assert json.dumps(figures(other)) == json.dumps(figures(one))
    models = list((tmp_path / "local").glob("runs/*/*/model/**/*.safetensors"))
    assert len(models) == 6  # of each method the first seed's encoder, and its heads
    for model in models:
        assert (out / model.relative_to(tmp_path / "local")).read_bytes() == model.read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    expected = figures(study(tmp_path / "local", 1, steps=200, seeds=2))
    out = tmp_path / "ray"
    killed: dict[str, Any] = {}

    def saved(folder: Path) -> bool:
        """Of a run whose model stays: it has saved, and has done some steps since."""
        steps = sorted(folder.glob("checkpoints/step-*"))
        return folder.name == "seed-0" and bool(steps) and len(events(folder)) > number(steps[-1]) + 5

    def kill() -> None:
        while not killed:
            time.sleep(0.01)
            folder = killed_at_work(out, saved)
            if folder is not None:
                steps = [number(step) for step in folder.glob("checkpoints/step-*")]
                killed.update(folder=folder, saved=max(steps), events=events(folder))

    ray.shutdown()  # the cluster of another test may have other settings
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    summary = study(out, Ray(at_once=2, checkpoint_seconds=0.5), steps=200, seeds=2)
    assert killed, "no run was killed after it had saved: nothing would be seen"
    before, after = killed["events"], events(killed["folder"])
    # Lines, with the time of each, are of the killed session up to what it had saved, and of the next one from there on.
    kept = next(at for at, (one, other) in enumerate(zip(before, after, strict=False)) if one != other)
    assert 0 < killed["saved"] <= kept < len(before) < len(after) == 200
    assert json.dumps(figures(summary), sort_keys=True) == json.dumps(expected, sort_keys=True)
    models = [file.relative_to(out) for file in killed["folder"].glob("model/**/*.safetensors")]
    assert models
    for model in models:
        assert (out / model).read_bytes() == (tmp_path / "local" / model).read_bytes()


def events(folder: Path) -> list[bytes]:
    """The whole lines of a run's events so far."""
    file = folder / "events.jsonl"
    return file.read_bytes().split(b"\n")[:-1] if file.exists() else []


def number(step: Path) -> int:
    """Of a checkpoint's folder."""
    return int(step.name.removeprefix("step-"))


def killed_at_work(out: Path, ready: Callable[[Path], bool]) -> Path | None:
    """Kill a worker in the middle of a run's steps; return the run's folder, or None where no run is ready for it yet."""
    for process in workers():
        for file in Path(f"/proc/{process}/fd").glob("*"):
            try:
                folder = Path(os.readlink(file)).parent
            except OSError:
                continue
            if not folder.is_relative_to(out) or not ready(folder):
                continue
            os.kill(process, signal.SIGKILL)
            time.sleep(0.2)  # what it was writing is written
            if not (folder / "result.json").exists():
                return folder
    return None


def workers() -> list[int]:
    """Processes that execute a task of this study."""
    busy = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if title.startswith("ray::answer"):
            busy.append(int(folder.name))
    return busy


def test_what_a_run_says_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="no bundled model or folder 'no-such-model'|no-such-model"):
        counterpoint.compare(
            ["simclr", "dcl"], data="digits", model="no-such-model", out=tmp_path / "out", seeds=2, steps=2, jobs=Ray(at_once=2)
        )  # fmt: skip


def test_one_that_does_not_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nSee the logs.")

    ray.shutdown()
    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(
        CounterpointError, match=r"no Ray cluster at this machine \(The current node timed out"
    ):
        study(tmp_path / "out", Ray())


def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    ray.shutdown()
    with pytest.raises(CounterpointError, match="no Ray cluster at 127.0.0.1:1"):
        study(tmp_path / "out", Ray(address="127.0.0.1:1"))
