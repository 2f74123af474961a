"""A run's memory is its own: what earlier runs of the process took, or left lying about, is not in it."""

import json
import resource
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_methods import Logistic
from toy_task import ToyTask

from counterpoint.study import cost
from counterpoint.study.cost import Memory, Meter
from counterpoint.study.single import execute

MB = 2**20
afresh = pytest.mark.skipif(not cost._forget_peak(), reason="the system does not start its record afresh")


def touched(size: int) -> bytearray:
    """Memory that is really there, every page of it written."""
    block = bytearray(size)
    block[::4096] = b"x" * len(range(0, size, 4096))
    return block


@afresh
def test_a_smaller_run_does_not_inherit_the_peak_of_a_larger_one():
    first = Memory()
    large = touched(300 * MB)
    cycle = [large]
    cycle.append(cycle)  # freed by the collector alone
    before = first.figures()
    del large, cycle
    second = Memory()
    small = touched(30 * MB)
    after = second.figures()
    assert len(small) == 30 * MB
    assert 290 * MB < before["peak_above_start_bytes"] < 350 * MB
    assert 25 * MB < after["peak_above_start_bytes"] < 80 * MB
    assert after["peak_rss_bytes"] < before["peak_rss_bytes"] - 200 * MB
    assert after["peak_rss_bytes"] > after["peak_above_start_bytes"] + 10 * MB  # the interpreter is in it


@afresh
def test_pages_that_the_allocator_kept_are_not_the_next_runs():
    pieces = [bytes(2000) for _ in range(150_000)]
    pinned = pieces[::1000]
    del pieces
    held = cost._status("VmRSS")
    memory = Memory()
    assert len(pinned) == 150
    assert memory.figures()["peak_rss_bytes"] < held - 150 * MB


def test_without_a_fresh_record_the_peak_is_the_processes_and_what_is_above_the_start_unknown(monkeypatch):
    monkeypatch.setattr(cost, "_forget_peak", lambda: False)
    monkeypatch.setattr(cost, "_status", lambda _: None)
    monkeypatch.setattr(cost.sys, "platform", "freebsd")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = Memory().figures()
    assert list(found) == ["peak_rss_bytes"]
    assert found["peak_rss_bytes"] >= most


@afresh
def test_runs_of_one_process_have_peaks_of_their_own_with_the_model_in_them(recipe, tmp_path, monkeypatch):
    fit, load = Logistic.fit, ToyTask.load_model
    with monkeypatch.context() as patch:
        patch.setattr(Logistic, "fit", lambda *given: (touched(300 * MB), fit(*given))[1])
        large = execute(recipe(), tmp_path / "large", progress=False).cost
    with monkeypatch.context() as patch:
        patch.setattr(ToyTask, "load_model", lambda *given: (touched(120 * MB), load(*given))[1])
        model = execute(recipe(), tmp_path / "model", progress=False).cost
    plain = execute(recipe(), tmp_path / "plain", progress=False).cost
    assert large["peak_above_start_bytes"] > 290 * MB
    assert 115 * MB < model["peak_above_start_bytes"] < 200 * MB
    assert plain["peak_above_start_bytes"] < 80 * MB
    assert plain["peak_rss_bytes"] < large["peak_rss_bytes"] - 200 * MB


def test_the_cost_of_two_sessions_has_the_larger_peak_and_the_sum_of_times(tmp_path):
    (tmp_path / "sessions.jsonl").write_text(
        '{"session": "start"}\n{"session": "end", "cpu_seconds": 2.0, "peak_rss_bytes": 9000000000000}\n'
    )
    found = Meter(tmp_path).stop()
    assert found["peak_rss_bytes"] == 9_000_000_000_000
    assert found["cpu_seconds"] >= 2.0
    assert (found["sessions"], found["unfinished_sessions"]) == (2, 0)


def test_what_a_killed_session_used_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "BEAT", 0.02)
    first = Meter(tmp_path)
    deadline = time.monotonic() + 20
    while "alive" not in (tmp_path / "sessions.jsonl").read_text() and time.monotonic() < deadline:
        sum(range(1000))
    first.over.set()  # killed: it never says that it ended
    first.beat.join()
    last = [json.loads(line) for line in (tmp_path / "sessions.jsonl").read_text().splitlines()][-1]
    assert last["session"] == "alive"
    assert last["wall_seconds"] >= 0.02
    with (tmp_path / "sessions.jsonl").open("a") as file:
        file.write('{"session": "ali')  # torn
    monkeypatch.setattr(cost, "BEAT", 1000.0)
    found = Meter(tmp_path).stop()
    assert (found["sessions"], found["unfinished_sessions"]) == (2, 1)
    assert found["lost_wall_seconds"] == pytest.approx(last["wall_seconds"], abs=1e-3)
    assert found["wall_seconds"] > last["wall_seconds"]
    assert found["cpu_seconds"] >= found["lost_cpu_seconds"] > 0


def test_a_studys_first_run_is_warmed_up(monkeypatch):
    from counterpoint.study.executors import workers

    order = []
    monkeypatch.setattr(workers, "warm_up", lambda: order.append("warm"))
    monkeypatch.setattr("counterpoint.study.single.execute", lambda *a, **k: order.append("run"))
    job = workers.Job(SimpleNamespace(model="linear"), tmp := Path("nowhere"))
    workers.run_here([job, job], lambda _: None, None, False, lambda _: None)
    assert order == ["warm", "run", "run"]
    assert not tmp.exists()
