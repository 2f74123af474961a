"""``counterpoint watch``: what a run has done so far, from its events alone, while it goes on and afterwards."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest

import counterpoint
from counterpoint.errors import CounterpointError
from counterpoint.study.during.watched import Watched, sparkline, watch


def event(step: int, loss: float, **more: object) -> str:
    return (
        json.dumps({"step": step, "loop": "train", "epoch": 0, "loss": loss, "time": 100.0 + step, **more})
        + "\n"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("watched") / "run"
    counterpoint.run(
        "dcl", data="digits", out=out, steps=6, settings={"batch_size": 8}, eval_every=3, evaluate=False, progress=False
    )  # fmt: skip
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def test_a_finished_run(run: Path, cli, tmp_path: Path) -> None:
    shown = cli("watch", run)
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0].startswith("dcl")
    assert "6 of 6 steps; finished" in lines[1]
    assert re.match(r"  loss +[▁▂▃▄▅▆▇█]{6} [\d.]+$", lines[2])
    assert any(line.startswith("  probe_accuracy") for line in lines)
    [one] = json.loads(cli("watch", run, "--json").output)
    assert (one["step"], one["finished"], one["method"]) == (6, True, "dcl")
    assert [row["step"] for row in one["evaluations"]] == [3, 6]
    page = tmp_path / "page.html"
    assert cli("watch", run, "--page", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") >= 2
    assert "probe accuracy on validation" in text
    assert "http-equiv" not in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)


def test_a_run_that_goes_on_is_read_line_by_line(run: Path) -> None:
    (run / "result.json").unlink()
    file = run / "events.jsonl"
    file.write_text(event(1, 2.0) + event(2, 1.5) + event(3, 1.0)[:20])
    [one] = watch(run)
    assert (one.step, one.losses, one.finished) == (2, [2.0, 1.5], False)
    assert (one.pace, one.left) == (1.0, 4.0)
    file.write_text(
        event(1, 2.0)
        + event(2, 1.5)
        + event(3, 1.0)
        + json.dumps({"step": 3, "evaluation": {"accuracy": 0.5}})
        + "\n"
    )
    one.read()
    assert (one.step, one.evaluations) == (3, {3: {"accuracy": 0.5}})
    file.write_text(event(1, 2.0) + event(2, 1.25))  # resumed from a checkpoint before
    one.read()
    assert (one.step, one.losses, one.evaluations) == (2, [2.0, 1.25], {})


def test_the_page_of_a_run_that_goes_on_asks_to_be_loaded_again(run: Path, cli, tmp_path: Path) -> None:
    (run / "result.json").unlink()
    page = tmp_path / "page.html"
    assert cli("watch", run, "--page", page, "--every", "5", "--once").exit_code == 0
    assert '<meta http-equiv="refresh" content="5">' in page.read_text()


def test_many_events_are_read_quickly_and_only_once(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("".join(event(n, 1.0 / n) for n in range(1, 100_001)))
    one = Watched(tmp_path, "dcl", {})
    one.read()
    assert one.step == 100_000
    began = time.perf_counter()
    for _ in range(1000):
        one.read()
    assert time.perf_counter() - began < 2
    assert len(sparkline(one.losses, 40)) == 40


def test_wrong_folders(tmp_path: Path, cli) -> None:
    with pytest.raises(CounterpointError, match="neither a run nor a study"):
        watch(tmp_path)
    assert cli("watch", tmp_path, "--every", "0").exit_code == 2
    assert "expected the name of an .html file" in cli("watch", tmp_path, "--page", "x.png").output
