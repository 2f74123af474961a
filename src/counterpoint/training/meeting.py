"""Processes of a launch before they have formed a group: they meet, and wait for one another for as long as all of them live.

Loading data, or measuring a model before it is trained, takes one process hours longer than the others, so that no limit of time
says that it is gone. Each counts, every second, in the store at which they met; a count that stands still does.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch.distributed as dist

from counterpoint import launched
from counterpoint.errors import CounterpointError

PATIENCE = "COUNTERPOINT_MEET_SECONDS"
"""How long the first processes wait for the last one to start, and how long one may give no sign; two minutes where it is not set."""
BEAT = 1.0
"""Seconds between two signs of a process."""
LEAVING = 20.0
"""Seconds that a process that ends before it has met the others waits for a store to say so in."""

logger = logging.getLogger("counterpoint")
_warned: set[str] = set()  # a study has many runs in one process, and a line is for all of them
_meetings: list[Meeting] = []  # one, from meeting to parting
_came: list[int] = []  # ranks under which this process has set out to meet others


class Meeting:
    """The store at which the processes of a launch have met, and the signs that they give there.

    Attributes:
        patience: seconds without a sign after which a process counts as gone. times: how often this process has waited.
    """

    def __init__(self, store: Any, rank: int, size: int, patience: float) -> None:
        self.store, self.rank, self.size, self.patience = store, rank, size, patience
        self.times = 0
        self._over = threading.Event()
        self._signs: threading.Thread | None = None

    def give_signs(self) -> None:
        """Count in the store from now on, over a connection of its own: the other one is busy while this process waits."""
        store = self.store.clone()

        def count() -> None:
            with contextlib.suppress(RuntimeError):  # whoever holds the store is gone: those who wait say so
                while not self._over.wait(BEAT):
                    store.add(f"counterpoint/sign/{self.rank}", 1)

        self._signs = threading.Thread(target=count, daemon=True)
        self._signs.start()
        atexit.register(self.end)

    def wait(self) -> None:
        """Return once all processes have called this as often as this one.

        Raises:
            CounterpointError: one of them is gone.
        """
        self.times += 1
        key = f"counterpoint/together/{self.times}"
        self._all_at(key)
        if self.rank:
            with contextlib.suppress(RuntimeError):
                self.store.set(f"{key}/through/{self.rank}", "here")
                self.store.add(f"{key}/through", 1)
        else:  # it may hold the store, and so goes on as the last one
            self._all_at(f"{key}/through")

    def _all_at(self, key: str) -> None:
        signs: dict[int, tuple[int, float]] = {}
        pause = 0.001
        with self._here():
            arrived = self.store.add(key, 1)
            self.store.set(f"{key}/{self.rank}", "here")
            while arrived < self.size:
                for other in range(self.size):
                    if not self.store.check([f"{key}/{other}"]):
                        self._require_sign(other, signs)
                time.sleep(pause)
                pause = min(2 * pause, BEAT / 10)
                arrived = self.store.add(key, 0)

    def exchange(self, own: Any) -> list[Any]:
        """What all processes say; see ``wait``."""
        key = f"counterpoint/said/{self.times}"
        with self._here():
            self.store.set(f"{key}/{self.rank}", json.dumps(own))
        self.wait()
        with self._here():
            every = [json.loads(self.store.get(f"{key}/{each}")) for each in range(self.size)]
        self.wait()  # until all have read it
        return every

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise CounterpointError(_lost("the first one", self.rank, self.size, error)) from None

    def _require_sign(self, other: int, signs: dict[int, tuple[int, float]]) -> None:
        now = time.monotonic()
        sign = self.store.add(f"counterpoint/sign/{other}", 0)
        former, since = signs.setdefault(other, (sign, now))
        if sign != former:
            signs[other] = sign, now
        elif self.store.check([f"counterpoint/left/{other}"]):
            raise CounterpointError(_lost(f"process {other}", self.rank, self.size))
        elif now - since > self.patience:
            silent = f"it has given no sign for {self.patience:g} seconds ({PATIENCE})"
            raise CounterpointError(_lost(f"process {other}", self.rank, self.size, silent))

    def end(self) -> None:
        """Give no more signs. Called when the group is formed, or when this process ends before."""
        atexit.unregister(self.end)
        self._over.set()
        if self._signs is not None:
            self._signs.join()  # a thread that is at the store while the interpreter shuts down would abort the process
        if not dist.is_initialized():
            with contextlib.suppress(RuntimeError):
                self.store.set(f"counterpoint/left/{self.rank}", "left")


def _lost(which: str, rank: int, size: int, reason: object = "") -> str:
    shortened = f" ({' '.join(str(reason).split())[:120]})" if reason else ""
    return (
        f"process {rank} of {size} lost {which}, which was killed or failed before the run began{shortened}; see what that one "
        "wrote, and start the same command again"
    )


def meet() -> tuple[int, int]:
    """Wait, with an end, until every process of the launch is there; return (rank, number of processes).

    Raises:
        CounterpointError: some process never came. Variables left over from another launch look like that.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    line = launched.clear_leftovers()
    if line is not None and line not in _warned:
        _warned.add(line)
        logger.warning(line)
    rank, size = launched.world()
    if size == 1 or _meetings:
        return rank, size
    _came.append(rank)
    patience = float(os.environ.get(PATIENCE, "120"))
    where = f"{os.environ['MASTER_ADDR']}:{os.environ.setdefault('MASTER_PORT', '29500')}"
    try:
        store = _store(rank, size, patience)
        store.set(f"counterpoint/{rank}", "here")
        _wait_for_all(store, rank, size, patience)
    except (RuntimeError, ValueError, OSError) as error:
        raise CounterpointError(
            f"the environment says that this is process {rank} of {size} meeting at {where}, but they did not all come "
            f"within {patience:g} seconds ({' '.join(str(error).split())[:120]}); for one process: unset RANK WORLD_SIZE "
            f"LOCAL_RANK; for several: start them with torchrun, or wait longer with {PATIENCE}=600"
        ) from None
    _meetings.append(Meeting(store, rank, size, patience))
    _meetings[-1].give_signs()
    return rank, size


def leave() -> None:
    """Tell the processes that wait to meet this one that it ends without: where it could not be asked what it was to do, for example.

    Nobody is told where this process is the one that would hold the store, and no launcher does.
    """
    if _came or not launched.one_of_several():
        return
    rank, size = launched.world()
    if rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    os.environ.setdefault("MASTER_PORT", "29500")
    with contextlib.suppress(RuntimeError, ValueError, OSError):
        store = _store(rank, size, min(LEAVING, float(os.environ.get(PATIENCE, "120"))))
        store.set(f"counterpoint/left/{rank}", "left")
        store.add("counterpoint/left", 1)


def _store(rank: int, size: int, seconds: float) -> Any:
    """The store that the launcher names, of which the first process is the holder where the launcher is none."""
    if rank > 0:
        _knock(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), seconds)
    wait = datetime.timedelta(seconds=seconds)
    return next(iter(dist.rendezvous(f"env://?rank={rank}&world_size={size}", timeout=wait)))[0]


def _wait_for_all(store: Any, rank: int, size: int, seconds: float) -> None:
    """Return when every process is there.

    Raises:
        TimeoutError: some process never came. CounterpointError: it said that it ends.
    """
    until, pause = time.monotonic() + seconds, 0.001
    while not store.check([f"counterpoint/{other}" for other in range(size)]):
        if store.add("counterpoint/left", 0):
            left = [other for other in range(size) if store.check([f"counterpoint/left/{other}"])]
            if left:
                raise CounterpointError(_lost(f"process {left[0]}", rank, size))
        if time.monotonic() > until:
            raise TimeoutError("some gave no sign")
        time.sleep(pause)
        pause = min(2 * pause, BEAT / 10)


def _knock(host: str, port: int, patience: float) -> None:
    """Wait until somebody listens there; torch's own attempt to reach nobody prints a page of its C++ calls.

    Raises:
        OSError: nobody did in time.
    """
    until = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((host, port), timeout=max(until - time.monotonic(), 0.1)).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(min(0.5, patience))
        else:
            return


def together() -> None:
    """Wait for the other processes of a launch, where they have met.

    Raises:
        CounterpointError: one of them is gone.
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
    elif _meetings:
        _meetings[-1].wait()


def exchange(own: Any) -> list[Any]:
    """What all processes of a launch say, in their order: plain data, by each as often as by the others.

    Raises:
        CounterpointError: one of them is gone, before they have formed a group.
    """
    if dist.is_available() and dist.is_initialized():
        every: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(every, own)
        return every
    return _meetings[-1].exchange(own) if _meetings else [own]


def part() -> None:
    """The processes have formed a group, which notices by itself when one is gone."""
    while _meetings:
        _meetings.pop().end()
