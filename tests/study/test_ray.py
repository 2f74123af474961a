"""Studies on a Ray cluster of this machine: the same bytes as local processes', also when a worker is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import counterpoint
from counterpoint.errors import CounterpointError
from counterpoint.study.executors.cluster import Ray

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    yield
    ray.shutdown()


def study(out: Path, jobs: int | Ray, steps: int = 4) -> dict:
    return counterpoint.compare(
        ["simclr", "dcl"], data="digits", out=out, seeds=3, steps=steps, jobs=jobs, trials=0
    )


def figures(summary: dict) -> dict:
    """All that does not depend on where and how fast it ran."""
    same = ("arms", "ranked", "differences", "metrics", "primary", "seeds", "before")
    content = {name: summary[name] for name in same}
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
