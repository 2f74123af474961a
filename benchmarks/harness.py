"""Side-by-side timing: every arm in its own process, interleaved, counted only when values and gradients agree.

A benchmark file names its workloads and gives ``prepare(workload, arm, shape)``, which returns a function that does one
step and returns tensors by name. ``main`` runs it: the parent starts one process per arm and round, and each worker
warms up on a small shape, times one step (wall, CPU) and reads the peak resident memory above the step's start.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TOLERANCE = 1e-5
SAMPLE = 65_536


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Attributes:
        name: short and unique.
        arms: who competes; the first is ours.
        shape: sizes of the real measurement.
        small: sizes of a dry run, seconds.
        target: what is aimed at, in words.
        tolerance: largest error of a result relative to its largest entry.
        compare: whether arms compute the same numbers.
        goals: the target in numbers: per peer, how many times our time it must take at least (CPU and wall); or
            ``peak_mb``, ``seconds`` (ours at most), ``milliseconds_over`` (ours above the last arm's, at most).
    """

    name: str
    arms: tuple[str, ...]
    shape: dict[str, int]
    small: dict[str, int]
    target: str
    tolerance: float = TOLERANCE
    compare: bool = True
    warm: dict[str, int] = field(default_factory=dict)
    goals: dict[str, float] = field(default_factory=dict)


Step = Callable[[], dict]
Prepare = Callable[[Workload, str, dict[str, int]], Step]


def main(script: str, workloads: list[Workload], prepare: Prepare) -> None:
    """Command line of a benchmark file."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--small", action="store_true", help="tiny shapes, to see that everything runs and agrees"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="workloads whose name this pattern finds")
    parser.add_argument("--arms", default="", help="comma-separated arms")
    parser.add_argument("--out", type=Path, default=FOLDER / "results.json")
    parser.add_argument("--worker", nargs=3, metavar=("WORKLOAD", "ARM", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        name, arm, file = given.worker
        chosen = next(w for w in workloads if w.name == name)
        _work(chosen, arm, chosen.small if given.small else chosen.shape, Path(file), prepare)
        return
    for workload in workloads:
        if re.search(given.only, workload.name):
            arms = tuple(a for a in workload.arms if not given.arms or a in given.arms.split(","))
            row = _measure(Path(script), workload, arms, given.small, given.repeats)
            _report(row)
            if not given.small:
                _store(given.out, row)


def _work(workload: Workload, arm: str, shape: dict[str, int], file: Path, prepare: Prepare) -> None:
    import torch

    torch.manual_seed(0)
    prepare(workload, arm, workload.warm or workload.small)()
    step = prepare(workload, arm, shape)
    start_rss = reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    results = step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = status("VmHWM") - start_rss
    torch.save(
        {name: _digest(value) for name, value in results.items() if isinstance(value, torch.Tensor)}, file
    )
    extra = {name: value for name, value in results.items() if not isinstance(value, torch.Tensor)}
    sys.stdout.write("\n" + json.dumps({"wall": wall, "cpu": cpu, "peak_bytes": peak, **extra}) + "\n")


def _digest(value):  # type: ignore[no-untyped-def]
    """Keep a fixed sample of a large tensor, and its norm."""
    import torch

    flat = value.detach().reshape(-1)
    if flat.numel() <= SAMPLE:
        return flat.double()
    index = torch.randint(0, flat.numel(), (SAMPLE,), generator=torch.Generator().manual_seed(0))
    return torch.cat([flat[index].double(), flat.norm().double().view(1)])


def status(field_name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field_name):
            return int(line.split()[1]) * 1024
    return 0


def reset_peak() -> int:
    """Start the high-water mark of resident memory anew; return the present size."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def _measure(script: Path, workload: Workload, arms: tuple[str, ...], small: bool, repeats: int) -> dict:
    runs: dict[str, list[dict]] = {arm: [] for arm in arms}
    skipped: dict[str, str] = {}
    agreement: dict[str, float] = {}
    load = []
    with tempfile.TemporaryDirectory() as folder:
        for round_number in range(repeats):
            for arm in arms:
                if arm in skipped:
                    continue
                file = Path(folder) / f"{arm}.pt"
                command = [sys.executable, str(script), "--worker", workload.name, arm, str(file)]
                load.append(os.getloadavg()[0])
                done = subprocess.run(
                    command + ["--small"] * small, capture_output=True, text=True, env=environment()
                )
                if done.returncode:
                    skipped[arm] = (done.stderr.strip().splitlines() or ["killed"])[-1][:300]
                    continue
                runs[arm].append(json.loads(done.stdout.strip().splitlines()[-1]))
            if round_number == 0 and workload.compare:
                agreement = _agreement(Path(folder), arms, skipped)
    row = {
        "workload": workload.name, "shape": workload.small if small else workload.shape, "target": workload.target, "goals": workload.goals,
        "arms": {arm: _summary(runs[arm]) for arm in arms if runs[arm]}, "skipped": skipped,
        "agreement": agreement, "tolerance": workload.tolerance, "agrees": all(e <= workload.tolerance for e in agreement.values()),
        "machine": _machine(), "load": [round(x, 2) for x in load], "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    return row


def environment() -> dict[str, str]:
    source = str(FOLDER.parent / "src")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}


def _agreement(folder: Path, arms: tuple[str, ...], skipped: dict[str, str]) -> dict[str, float]:
    """Largest error of each peer's results relative to our largest entry."""
    import torch

    found = {a: torch.load(folder / f"{a}.pt", weights_only=True) for a in arms if a not in skipped}
    ours = found.pop(arms[0], None)
    errors = {}
    for arm, theirs in found.items():
        if ours is None:
            continue
        shared = ours.keys() & theirs.keys()
        if arm == "floor":  # bare products, no results
            continue
        errors[arm] = max(
            float((ours[k] - theirs[k]).abs().max() / theirs[k].abs().max().clamp(min=1e-30)) for k in shared
        )
    return errors


def _summary(runs: list[dict]) -> dict:
    keys = [k for k in runs[0] if isinstance(runs[0][k], int | float)]
    return {**{k: statistics.median(r[k] for r in runs) for k in keys}, "repeats": runs}


def _machine() -> dict:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("torch", "transformers", "trl", "sentence-transformers", "pytorch-metric-learning"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    model = next(
        (
            x.split(":")[1].strip()
            for x in Path("/proc/cpuinfo").read_text().splitlines()
            if x.startswith("model name")
        ),
        "",
    )
    return {
        "processor": model, "cores": os.cpu_count(), "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "python": platform.python_version(), "versions": versions,
    }  # fmt: skip


def judge(row: dict) -> dict[str, tuple[float, bool]]:
    """Return what was reached per goal of a row, and whether that meets it."""
    arms = row["arms"]
    if "ours" not in arms:
        return {}
    ours, reached = arms["ours"], {}
    for name, wanted in row["goals"].items():
        if name == "peak_mb":
            value = ours["peak_bytes"] / 1e6
            reached[name] = value, value <= wanted
        elif name == "seconds":
            reached[name] = ours[name], ours[name] <= wanted
        elif name == "milliseconds_over":
            other = next(r for a, r in arms.items() if a != "ours")
            value = ours["milliseconds_per_step"] - other["milliseconds_per_step"]
            reached[name] = value, value <= wanted
        elif name in arms:
            value = min(arms[name][k] / ours[k] for k in ("cpu", "wall"))
            reached[name] = value, value >= wanted and row["agreement"].get(name, 1.0) <= row["tolerance"]
    return reached


def _report(row: dict) -> None:
    ours = next(iter(row["arms"]), None)
    sys.stdout.write(f"\n{row['workload']}  {row['shape']}  target: {row['target']}\n")
    for arm, run in row["arms"].items():
        ratio = run["cpu"] / row["arms"][ours]["cpu"], run["wall"] / row["arms"][ours]["wall"]
        error = row["agreement"].get(arm)
        sys.stdout.write(
            f"  {arm:<22} cpu {run['cpu']:8.3f} s ({ratio[0]:5.2f}x)  wall {run['wall']:8.3f} s ({ratio[1]:5.2f}x)  "
            f"peak {run['peak_bytes'] / 1e6:8.1f} MB"
            + (f"  error {error:.1e}" if error is not None else "")
            + "\n"
        )
    for name, (value, met) in judge(row).items():
        sys.stdout.write(
            f"  {name}: {value:.2f}, wanted {row['goals'][name]:g}: {'met' if met else 'MISSED'}\n"
        )
    for arm, why in row["skipped"].items():
        sys.stdout.write(f"  {arm:<22} did not run: {why}\n")
    if not row["agrees"]:
        sys.stdout.write("  NOT COUNTED: results differ beyond the tolerance\n")
    sys.stdout.flush()


def _store(path: Path, row: dict) -> None:
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [r for r in rows if r["workload"] != row["workload"]] + [row]
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(sorted(rows, key=lambda r: r["workload"]), indent=1) + "\n")
    partial.replace(path)
