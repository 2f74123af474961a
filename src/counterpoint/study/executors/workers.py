"""Executes many recipes: one after another in this process, or several at once in processes of their own."""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError
from counterpoint.study.cost import warm_up
from counterpoint.study.recipe import GIVEN, Recipe, refuse_objects
from counterpoint.study.store import Result

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import nn


@dataclass(frozen=True)
class Job:
    """A recipe, where it goes, and whether its model stays."""

    recipe: Recipe
    out: Path
    keep_model: bool = False


Done = Callable[[Job], None]
Forgiving = Callable[[Job, str], None] | None


def run_here(
    jobs: Sequence[Job],
    load: Callable[[Recipe], Any],
    model: nn.Module | None,
    progress: Progress | bool | None,
    done: Done,
    forgiving: Forgiving = None,
) -> list[Result | None]:
    """Run jobs in order in this process; ``load`` gives the data of a recipe, loaded once.

    Args:
        forgiving: is given a job that fails and its message; the job becomes None instead of ending the study.
    """
    from counterpoint.study.single import execute

    warm_up()
    results: list[Result | None] = []
    for job in jobs:
        try:
            given = model if job.recipe.model == GIVEN else None
            result: Result | None = execute(
                job.recipe,
                job.out,
                data=load(job.recipe),
                model=given,
                progress=progress,
                keep_model=job.keep_model,
            )
        except CounterpointError as error:
            if forgiving is None:
                raise
            forgiving(job, str(error))
            result = None
        results.append(result)
        done(job)
    return results


def run_apart(
    jobs: Sequence[Job], at_once: int, done: Done, forgiving: Forgiving = None
) -> list[Result | None]:
    """Run jobs in ``at_once`` processes. A signal is passed on; the children save before this process stops.

    Raises:
        CounterpointError: what a job said, once the others at work have been stopped and saved.
        KeyboardInterrupt: after a signal.
    """
    for job in jobs:
        refuse_objects(job.recipe, job.out)
    waiting, results = list(jobs), dict[Path, Result | None]()
    threads = max(1, (os.cpu_count() or 1) // at_once)
    workers = [_Worker(threads) for _ in range(min(at_once, len(jobs)))]
    try:
        with selectors.DefaultSelector() as ready:
            for worker in workers:
                ready.register(worker.replies, selectors.EVENT_READ, worker)
                worker.give(waiting.pop(0))
            while len(results) < len(jobs):
                for event, _ in ready.select():
                    worker = event.data
                    job = worker.job
                    results[job.out] = worker.reply(forgiving)
                    done(job)
                    if waiting:
                        worker.give(waiting.pop(0))
                    else:
                        ready.unregister(worker.replies)
    finally:
        for worker in workers:
            worker.stop()
    return [results[job.out] for job in jobs]


class _Worker:
    """A process that executes jobs: one JSON line in, one JSON line out."""

    job: Job

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  (closed in stop)
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "counterpoint.study.executors.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.orders, self.replies = self.process.stdin, self.process.stdout

    def give(self, job: Job) -> None:
        """Start a job."""
        self.job = job
        self.orders.write((json.dumps(order(job, self.threads)) + "\n").encode())
        self.orders.flush()

    def reply(self, forgiving: Forgiving) -> Result | None:
        """Read how the job ended."""
        line = self.replies.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            output = self.log.read().decode("utf-8", "replace").strip()
            raise RuntimeError(
                f"the run in {self.job.out} ended with status {self.process.returncode}:\n{output[-4000:]}"
            )
        answer = json.loads(line)
        if "stopped" in answer:
            raise KeyboardInterrupt
        if "error" in answer:
            if forgiving is None:
                raise CounterpointError(answer["error"])
            forgiving(self.job, answer["error"])
            return None
        return Result.read(self.job.out)

    def stop(self) -> None:
        """End the process; a job at work saves first."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.orders.close()
        self.replies.close()
        self.log.close()


def order(
    job: Job, threads: int, absolute: bool = False, checkpoint_seconds: float = 120.0
) -> dict[str, Any]:
    """A job as plain data, for another process; ``absolute`` for one whose working directory is another."""
    recipe = replace(job.recipe, threads=job.recipe.threads or threads)
    out = job.out.absolute() if absolute else job.out
    return {
        "recipe": recipe.as_dict(), "out": str(out), "keep_model": job.keep_model, "imports": recipe.foreign_modules(),
        "cwd": os.getcwd() if absolute else None, "checkpoint_seconds": checkpoint_seconds,
    }  # fmt: skip


def _serve() -> None:
    """Read orders until there are none. Whatever a run prints goes to standard error, away from the replies."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warm_up()
    for line in sys.stdin:
        replies.write(json.dumps(answer(json.loads(line))) + "\n")
        replies.flush()


def answer(order: dict[str, Any]) -> dict[str, str]:
    """Execute an order; return how it ended."""
    from counterpoint.study.single import execute
    from counterpoint.training import Interrupted

    if order["cwd"] is not None:
        os.chdir(order["cwd"])
    try:
        for module in order["imports"]:  # named by the process that started this one, not by a file
            importlib.import_module(module)
        recipe, out = Recipe.from_dict(order["recipe"]), Path(order["out"])
        execute(
            recipe, out, progress=False, keep_model=order["keep_model"],
            checkpoint_seconds=order["checkpoint_seconds"],
        )  # fmt: skip
    except CounterpointError as error:
        return {"error": str(error)}
    except (Interrupted, KeyboardInterrupt):
        return {"stopped": str(out)}
    return {"done": str(out)}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve()
    except KeyboardInterrupt:
        sys.exit(0)
