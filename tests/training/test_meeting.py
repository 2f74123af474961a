"""Processes that wait for one another before they form a group: one that lives is waited for, one that is gone ends the others."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist

from counterpoint.cli.main import main
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load
from counterpoint.study.recipe import recipe_of
from counterpoint.study.single import execute
from counterpoint.training import meeting
from ranks_harness import free_port


class Store:
    """A store of counts, and a clock that goes on whenever somebody is waited for."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.values: set[str] = set()
        self.waits, self.each_second = 0, (lambda: None)

    def add(self, name: str, count: int) -> int:
        self.counts[name] = self.counts.get(name, 0) + count
        return self.counts[name]

    def set(self, name: str, _: str) -> None:
        self.values.add(name)

    def check(self, names: list[str]) -> bool:
        return self.values.issuperset(names)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made, clock = Store(), [0.0]

    def sleep(_: float) -> None:
        clock[0] += 1.0
        assert clock[0] < 10_000
        made.each_second()

    monkeypatch.setattr(meeting, "time", type("Clock", (), {"sleep": sleep, "monotonic": lambda: clock[0]}))
    made.clock = clock  # type: ignore[attr-defined]
    return made


def first_of_two(store: Store) -> meeting.Meeting:
    return meeting.Meeting(store, rank=0, size=2, patience=30.0)


def test_one_that_gives_signs_is_waited_for(store: Store) -> None:
    def other() -> None:
        store.add("counterpoint/sign/1", 1)
        if store.clock[0] == 500:  # type: ignore[attr-defined]
            for place in ("counterpoint/together/1", "counterpoint/together/1/through"):
                store.set(f"{place}/1", "here")
                store.add(place, 1)

    store.each_second = other
    first_of_two(store).wait()
    assert store.clock[0] == 500  # type: ignore[attr-defined]


def test_one_that_gives_none_is_not(store: Store) -> None:
    with pytest.raises(
        CounterpointError, match="process 0 of 2 lost process 1, which was killed or failed before"
    ):
        first_of_two(store).wait()
    assert 30 < store.clock[0] < 33  # type: ignore[attr-defined]


def test_one_that_left_is_not_waited_for_at_all(store: Store) -> None:
    store.set("counterpoint/left/1", "left")
    with pytest.raises(CounterpointError, match="process 0 of 2 lost process 1"):
        first_of_two(store).wait()
    assert store.clock[0] < 2  # type: ignore[attr-defined]


def test_what_a_store_says_is_shortened_to_a_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise dist.DistNetworkError("Connection reset by peer\n" + "frame #1: c10d::detail::recv\n" * 50)

    monkeypatch.setattr(store, "add", broken)
    with pytest.raises(CounterpointError) as raised:
        first_of_two(store).wait()
    line = str(raised.value)
    assert line.startswith("process 0 of 2 lost the first one")
    assert "Connection reset by peer frame #1" in line
    assert "\n" not in line
    assert len(line) < 400


def test_a_place_to_meet_that_fails_is_shortened_to_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> object:
        raise dist.DistNetworkError("The client socket has failed to connect\n" * 50)

    monkeypatch.setattr(dist, "rendezvous", failing)
    for name, value in environment(rank=0, port=1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CounterpointError) as raised:
        meeting.meet()
    line = str(raised.value)
    assert "this is process 0 of 2 meeting at 127.0.0.1:1, but they did not all come" in line
    assert "\n" not in line
    assert len(line) < 500


def environment(rank: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), meeting.PATIENCE: "4",
    }  # fmt: skip


def pair(folder: Path, do: Callable[[int], object], port: int | None = None) -> list[str]:
    """Two processes of a launch that do something; returns what each was refused with."""
    port = port or free_port()
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            line = "was not refused"
            try:
                os.environ |= environment(rank, port)
                do(rank)
            except BaseException as error:
                line = str(error) if isinstance(error, CounterpointError) else repr(error)
            finally:
                (folder / f"line-{rank}").write_text(line)
                meeting.part()  # what an interpreter does at its end
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return [file.read_text() if (file := folder / f"line-{rank}").exists() else "killed" for rank in range(2)]


@pytest.mark.parametrize("gone", [0, 1])
@pytest.mark.parametrize("how", ["killed", "ended"])
def test_the_other_one_ends_with_a_line(tmp_path: Path, gone: int, how: str) -> None:
    def do(rank: int) -> None:
        assert meeting.meet() == (rank, 2)
        meeting.together()
        if rank != gone:
            meeting.together()
        elif how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)

    line = pair(tmp_path, do)[1 - gone]
    which = "the first one|process 0" if gone == 0 else "process 1"
    assert any(
        line.startswith(f"process {1 - gone} of 2 lost {each}, which was") for each in which.split("|")
    )
    assert "start the same command again" in line


@pytest.mark.parametrize(("gone", "held"), [(1, False), (1, True), (0, True)])
@pytest.mark.parametrize(
    "wrong", [["run", "simclr", "--steps", "many"], ["run", "simcrl"], ["run", "simclr", "--nothing", "1"]]
)
def test_one_whose_command_is_wrong_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int, held: bool, wrong: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["counterpoint", *wrong])
    monkeypatch.setattr(meeting, "_came", [])  # what other tests have done in this process
    port = free_port()
    if held:  # as torchrun does
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
        launcher = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
        assert launcher.port == port

    def do(rank: int) -> None:
        os.environ[meeting.PATIENCE] = "60"  # without a word from the other one it says that nobody came
        if rank == gone:
            main()
        meeting.meet()

    lines = pair(tmp_path, do, port)
    assert lines[gone] == "SystemExit(2)"
    assert lines[1 - gone].startswith(
        f"process {1 - gone} of 2 lost process {gone}, which was killed or failed"
    )


def a_run(out: Path, rows: int = 40, steps: int = 1) -> None:
    recipe = recipe_of(
        load("simclr").settings(), "images", seed=1, data="digits", data_options={"limit": rows}, model="conv-small:group",
        budget={"steps": steps},
    )  # fmt: skip
    execute(recipe, out, progress=False)


def test_folders_that_are_not_shared_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    for line in pair(tmp_path, lambda rank: a_run(tmp_path / f"out-{rank}")):
        assert line.startswith("process 1 does not see what the first process writes")
    assert not list(tmp_path.glob("out-*"))


def test_a_folder_that_the_first_one_cannot_claim_is_refused_by_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for line in pair(tmp_path, lambda _: a_run(tmp_path / "file" / "out", rows=300)):
        assert line.endswith(
            "out cannot be made: a file stands where a folder should be; choose another place"
        )


def test_another_command_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for line in pair(tmp_path, lambda rank: a_run(tmp_path / "out", steps=1 + rank)):
        assert line.startswith(
            "process 1 was asked for another run than the first process (budget.steps: 1 there, 2 asked for)"
        )
    assert not (tmp_path / "out").exists()


def test_other_data_is_refused(tmp_path: Path) -> None:
    for line in pair(tmp_path, lambda rank: a_run(tmp_path / "out", 40 + rank)):
        assert line.startswith("process 1 has read other data from digits than the first process")
    assert not (tmp_path / "out").exists()
