"""Executes many recipes as tasks of a Ray cluster. A worker that dies is started anew, and its run goes on from its folder.

Ray only places the runs: what is tried and compared is decided in the process that started the study, and results are read
from the runs' folders, which every machine must see under the same path.
"""

from __future__ import annotations

import os
import socket
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.study.executors.workers import Done, Forgiving, Job, answer, order
from counterpoint.study.recipe import refuse_objects
from counterpoint.study.store import Result

RETRIES = 3
"""How often a run is started again when its worker dies (killed, out of memory, a lost machine)."""


@dataclass(frozen=True)
class Ray:
    """A Ray cluster, and what each run takes of it.

    Attributes:
        address: of a cluster, "auto" for the one this machine belongs to; None starts one on this machine alone.
        cpus, gpus: of each run. at_once: runs of a local cluster at once; None lets Ray fit as many as there are cores.
        checkpoint_seconds: how often a run saves, so how much of it a worker that dies may lose.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    at_once: int | None = None
    checkpoint_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.cpus <= 0 or self.gpus < 0:
            raise CounterpointError(
                f"cpus={self.cpus:g}, gpus={self.gpus:g} a run; give cpus above 0 and gpus of 0 or more"
            )


def run_ray(
    jobs: Sequence[Job], cluster: Ray, done: Done, forgiving: Forgiving = None
) -> list[Result | None]:
    """Run jobs on a cluster, as ``workers.run_apart`` does on this machine.

    Raises:
        CounterpointError: what a run said, once the others have been stopped and saved; a cluster that cannot be reached or
            does not see this machine's folders.
        KeyboardInterrupt: after a signal.
        MissingExtra: Ray is not installed.
    """
    for job in jobs:
        refuse_objects(job.recipe, job.out)
    ray = _connect(cluster)
    options = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus, "max_retries": RETRIES, "max_calls": 1}
    if jobs:
        _check_folders(ray, options, jobs[0].out)
    work = ray.remote(**options)(answer)
    threads = max(1, int(cluster.cpus))
    pending: dict[Any, Job] = {}
    try:
        for job in jobs:
            given = order(job, threads, absolute=True, checkpoint_seconds=cluster.checkpoint_seconds)
            pending[work.remote(given)] = job
        results: dict[Path, Result | None] = {}
        while pending:
            (ready, *_), _ = ray.wait(list(pending), num_returns=1)
            job = pending.pop(ready)
            results[job.out] = _result(ray, ready, job, forgiving)
            done(job)
        return [results[job.out] for job in jobs]
    finally:
        for reference in pending:
            ray.cancel(reference)  # as Ctrl-C: the run saves
        ray.wait(list(pending), num_returns=len(pending), timeout=60) if pending else None


def _connect(cluster: Ray) -> Any:
    try:
        import ray
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
        environment = {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": str(max(1, int(cluster.cpus)))}}
        local = {} if cluster.address else {"num_cpus": cluster.at_once, "include_dashboard": False}
        try:
            _probe(cluster.address)
            ray.init(
                address=cluster.address, runtime_env=environment, log_to_driver=False, logging_level="ERROR", **local
            )  # fmt: skip
        except Exception as error:  # Ray has no class of its own for what keeps it from starting
            reason = " ".join(str(error).split())[:160]
            raise CounterpointError(
                f"no Ray cluster at {cluster.address or 'this machine'} ({reason}); start one with ray start --head, or leave "
                "--address out for this machine alone"
            ) from None
    return ray


def _probe(address: str | None) -> None:
    """Fail at once where nothing listens: Ray itself tries for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


def _check_folders(ray: Any, options: dict[str, Any], out: Path) -> None:
    """See that a worker reads what this process writes beside the runs."""
    folder = out.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / f".seen-by-workers-{uuid.uuid4().hex}"
    token.write_text("counterpoint", encoding="utf-8")
    try:
        seen = ray.get(ray.remote(**options)(_reads).remote(str(token)))
    finally:
        token.unlink(missing_ok=True)
    if not seen:
        raise CounterpointError(
            f"a worker of the Ray cluster does not see {folder}; give --out on a disk that every machine has under this path"
        )


def _reads(path: str) -> bool:
    return Path(path).is_file()


def _result(ray: Any, reference: Any, job: Job, forgiving: Forgiving) -> Result | None:
    try:
        reply = ray.get(reference)
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines()
        raise RuntimeError(f"the run in {job.out} ended in its worker:\n" + "\n".join(lines[-20:])) from None
    if "stopped" in reply:
        raise KeyboardInterrupt
    if "error" in reply:
        if forgiving is None:
            raise CounterpointError(reply["error"])
        forgiving(job, reply["error"])
        return None
    return Result.read(job.out)
