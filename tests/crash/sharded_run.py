"""A run on several processes whose weights are in shards, as a command for kills: forked, so that a trial costs what it computes."""

from __future__ import annotations

import ctypes
import os
import signal
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState

from counterpoint.methods.catalog import load, row
from counterpoint.study.recipe import recipe_of
from counterpoint.study.single import execute
from ranks_harness import free_port

DIES_WITH_ITS_PARENT = 1
"""Of prctl: the signal that a process gets when its parent is gone."""


def train(out: Path, key: str, settings: dict[str, Any], processes: int, seconds: float, **rest: Any) -> None:
    """Execute a recipe as the first of several processes; fork the others, which are killed when this one is.

    Raises:
        RuntimeError: another process failed.
    """
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "ACCELERATE_USE_CPU": "true",
        "COUNTERPOINT_MEET_SECONDS": "60",
    }
    torch.set_num_threads(1)
    # A forked process has what Accelerate knew in this one: that there is one process alone.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    others = []
    for rank in range(1, processes):
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(DIES_WITH_ITS_PARENT, signal.SIGKILL)
            status = 1
            try:
                one(out, key, settings, rank, seconds, **rest)
                status = 0
            except BaseException as error:
                (out.parent / f"{out.name}.{rank}.error").write_text(
                    "".join(traceback.format_exception(error))
                )
            finally:
                os._exit(status)
        others.append(child)
    try:
        one(out, key, settings, 0, seconds, **rest)
    except BaseException:
        ended(others)
        raise
    for child in others:
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status):
            raise RuntimeError(f"a process of the run ended with {status}")


def ended(processes: list[int], seconds: float = 60.0) -> None:
    """Give processes time to end and to write why; those that hang die with this one."""
    until = time.monotonic() + seconds
    while processes and time.monotonic() < until:
        processes = [child for child in processes if os.waitpid(child, os.WNOHANG)[0] == 0]
        time.sleep(0.05)


def one(out: Path, key: str, settings: dict[str, Any], rank: int, seconds: float, **rest: Any) -> None:
    """What each process does."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    recipe = recipe_of(load(key).settings(**settings), row(key).kind, seed=1, shard="fsdp", **rest)
    execute(recipe, out, progress=False, checkpoint_seconds=seconds, keep_checkpoints=True)
