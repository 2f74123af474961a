"""What a run costs: wall and CPU seconds and the peak of memory, added over the sessions of an interrupted run.

``peak_rss_bytes`` is the most that the process held at once while the run was at work: interpreter, libraries and loaded
data are in it, what earlier runs of the process held is not. ``peak_above_start_bytes`` leaves the former out: it is what
the run itself took, its model included.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import resource
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

BEAT = 10.0
"""Seconds after which a session first writes down what it has used; from 100 seconds on it does at every tenth of its time."""


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _status(field: str) -> int | None:
    """A field of /proc/self/status in bytes; None where there is no such file."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _forget_peak() -> bool:
    """Start the kernel's record of peak memory afresh; False where it refuses, or where there is none (Linux has one)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _give_back() -> None:
    """Give memory that earlier runs left behind back to the system, so that it is no part of the next one's figures.

    What only waits for the collector is collected; then the allocator of glibc returns its free pages, which it would
    otherwise keep and count as the process's.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # other C libraries have none
            trim(0)


def _peak() -> int:
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Memory:
    """The process's memory from now on, so that runs of one process do not inherit one another's peaks.

    Where the system keeps no record that can be started afresh, the peak is the process's since it began, an upper bound,
    and how far it lies above the start is not known.
    """

    def __init__(self) -> None:
        _give_back()
        self.own = _forget_peak()
        self.before = _status("VmRSS")

    def figures(self) -> dict[str, int]:
        """Bytes by name, as they go into a run's cost."""
        peak = _peak()
        result = {"peak_rss_bytes": peak}
        if self.own and self.before is not None:
            result["peak_above_start_bytes"] = max(peak - self.before, 0)
        return result


class Meter:
    """Measures one session of a run and appends it to ``sessions.jsonl``.

    While a session is at work it writes down from time to time what it has used, so that of a session that was killed only the
    work since then is missing from the cost: at most a tenth of its time, or ten seconds.

    Args:
        folder: the run's folder, which exists.
        memory: begun before the run's model was made, which it then counts; None begins now.
    """

    def __init__(self, folder: Path, memory: Memory | None = None) -> None:
        self.path = folder / "sessions.jsonl"
        self.memory = memory or Memory()
        self.wall, self.cpu = time.perf_counter(), _cpu_seconds()
        self.parts: dict[str, float] = {}
        if self.path.exists() and not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")  # a line that a killed session left half-written ends here
        self._append({"session": "start"})
        self.over = threading.Event()
        self.beat = threading.Thread(target=self._beat, daemon=True, name="counterpoint-cost")
        self.beat.start()

    def _beat(self) -> None:
        pause = BEAT
        while not self.over.wait(pause):
            self._append({"session": "alive", **self._used()})
            pause = max(BEAT, 0.1 * (time.perf_counter() - self.wall))

    def _used(self) -> dict[str, Any]:
        return {
            "wall_seconds": time.perf_counter() - self.wall,
            "cpu_seconds": _cpu_seconds() - self.cpu,
            **self.memory.figures(),
        }

    def part(self, name: str) -> None:
        """Close a part of the session: ``<name>_seconds`` is the wall time since the start or the last part."""
        elapsed = time.perf_counter() - self.wall
        self.parts[f"{name}_seconds"] = elapsed - sum(self.parts.values())

    def stop(self) -> dict[str, Any]:
        """Write the session's end and return the cost of the whole run so far."""
        self.over.set()
        self.beat.join()
        self._append({"session": "end", **self._used(), **self.parts})
        return total(self.path)

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def total(path: Path) -> dict[str, Any]:
    """Add the sessions of ``sessions.jsonl``: times are summed, peaks are the largest.

    A session without an end was killed: what it had last written down counts, and is given as ``lost_wall_seconds`` and
    ``lost_cpu_seconds`` as well, for some of that work was done again. A torn last line is passed over.
    """
    sessions: list[list[dict[str, Any]]] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if (
            not isinstance(line, dict)
            or "session" not in line
            or not (sessions or line["session"] == "start")
        ):
            continue
        if line["session"] == "start":
            sessions.append([])
        sessions[-1].append(line)
    cost: dict[str, Any] = {"sessions": len(sessions), "unfinished_sessions": 0}
    for lines in sessions:
        killed = lines[-1]["session"] != "end"
        cost["unfinished_sessions"] += killed
        for name, value in lines[-1].items():
            if name.endswith("_seconds"):
                cost[name] = round(cost.get(name, 0.0) + value, 4)
                if killed:
                    cost[f"lost_{name}"] = round(cost.get(f"lost_{name}", 0.0) + value, 4)
            elif name.endswith("_bytes"):
                cost[name] = max(cost.get(name, 0), value)
    return cost


def warm_up() -> None:
    """Import what every run needs and start the thread pools, so that a study's first run does not pay for all others."""
    import accelerate  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch

    from counterpoint.training import Run  # noqa: F401

    weight = torch.ones(256, 256, requires_grad=True)
    optimizer = torch.optim.AdamW([weight])
    (weight @ weight).logsumexp(1).sum().backward()
    optimizer.step()


def environment() -> dict[str, Any]:
    """Versions and machine, for whoever wants to run it again."""
    versions = {"python": platform.python_version()}
    for package in ("counterpoint", "torch", "numpy", "scipy", "scikit-learn", "transformers", "accelerate"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    machine: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        machine["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            machine["gpu"] = torch.cuda.get_device_name()
    return {"versions": versions, "machine": machine}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
