"""Where the time of a training step goes, for dcl, unisd and xsimgcl: parts of the step, then torch's operators.

    .venv/bin/python benchmarks/profile_steps.py            # writes profile.json and the table in README.md

Each method trains as ``counterpoint train`` does. The first steps warm up; then every call of the Run and of the
libraries is timed from outside, own time only, so that the parts sum to the step. Operators come from torch's profiler
over some further steps of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
START, END = "<!-- profile -->\n", "<!-- end of profile -->\n"
CASES: dict[str, dict[str, Any]] = {
    "dcl": {"data": "mnist5k", "settings": {}},
    "unisd": {
        "data": "worked-sums?size=500&validation=20&test=20",
        "model": "pupil",
        "settings": {"max_new_tokens": 48},
    },
    "xsimgcl": {"data": "movielens-100k", "settings": {}},
}
WARM, TIMED, TRACED = 5, 20, 5
PARTS = ("batch", "sampling", "teachers", "forward", "backward", "optimizer", "run", "method")


class Clock:
    """Own time per part: a part that calls another stops while that one runs."""

    def __init__(self) -> None:
        self.own: dict[str, float] = defaultdict(float)
        self.stack: list[list[Any]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.stack.append([name, time.perf_counter(), 0.0])
        try:
            yield
        finally:
            name, began, inner = self.stack.pop()
            took = time.perf_counter() - began
            self.own[name] += took - inner
            if self.stack:
                self.stack[-1][2] += took

    def around(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return timed


def profile(method: str, data: str, settings: dict[str, Any], model: str | None = None) -> dict[str, Any]:
    """Train a few steps; return milliseconds per step by part, and the operators with the most own time."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    import counterpoint
    from counterpoint.generation import sampler
    from counterpoint.teachers import answering
    from counterpoint.training import batches as batches_module
    from counterpoint.training import run as run_module

    clock = Clock()
    steps: list[dict[str, float]] = []
    tracer = torch_profile(activities=[ProfilerActivity.CPU])
    seen = {"steps": 0, "began": 0.0, "traced": 0.0}
    run_type = run_module.Run
    kept = run_type._walk, run_type._advance

    def walk(self: Any, *args: Any) -> Iterator[Any]:
        inner = kept[0](self, *args)
        while True:
            with clock.part("run"):
                try:
                    batch = next(inner)
                except StopIteration:
                    return
            yield batch

    def advance(self: Any, *args: Any) -> None:
        now = time.perf_counter()
        kept[1](self, *args)
        count = seen["steps"] = seen["steps"] + 1
        if WARM < count <= WARM + TIMED:
            whole = now - seen["began"]
            own = dict(clock.own)
            steps.append({**own, "method": whole - sum(own.values()), "step": whole})
        clock.own.clear()
        for frame in clock.stack:  # what runs across the boundary starts anew
            frame[1], frame[2] = time.perf_counter(), 0.0
        if count == WARM + TIMED:
            tracer.start()
            seen["traced"] = time.perf_counter()
        if count == WARM + TIMED + TRACED:
            seen["traced"] = time.perf_counter() - seen["traced"]
            tracer.stop()
        seen["began"] = time.perf_counter()

    run_type._walk, run_type._advance = walk, advance  # type: ignore[method-assign]
    run_type.step = clock.around(run_type.step, "run")  # type: ignore[method-assign]
    run_type.forward = clock.around(run_type.forward, "forward")  # type: ignore[method-assign]
    run_module.fetch = clock.around(batches_module.fetch, "batch")
    torch.Tensor.backward = clock.around(torch.Tensor.backward, "backward")  # type: ignore[method-assign]
    answering.completion_scores = clock.around(answering.completion_scores, "teachers")
    sampler.Sampler.__call__ = clock.around(sampler.Sampler.__call__, "sampling")  # type: ignore[method-assign]
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        kind.step = clock.around(kind.step, "optimizer")  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        counterpoint.run(
            method,
            data=data,
            model=model,
            out=Path(folder) / "run",
            steps=WARM + TIMED + TRACED + 1,
            settings=settings,
        )
    found = tracer.key_averages()
    total = sum(e.self_cpu_time_total for e in found)
    top = sorted(found, key=lambda e: -e.self_cpu_time_total)[:8]
    return {
        "data": data, "model": model, "settings": settings, "steps": len(steps),
        "milliseconds": {k: 1e3 * statistics.median(s.get(k, 0.0) for s in steps) for k in (*PARTS, "step")},
        "operators": [{"name": e.key, "share": e.self_cpu_time_total / total, "calls": e.count / TRACED} for e in top],
        "repeats": steps,
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """Lay out both tables."""
    lines = [
        "| method | data | step | " + " | ".join(PARTS) + " |",
        "|" + "---|" * (3 + len(PARTS)),
    ]
    for method, row in found["methods"].items():
        spent = row["milliseconds"]
        shares = " | ".join(f"{spent[p]:.2f} ms ({100 * spent[p] / spent['step']:.0f} %)" for p in PARTS)
        lines.append(
            f"| {method} | {row['data']}{', ' + row['model'] if row['model'] else ''} | {spent['step']:.1f} ms | {shares} |"
        )
    lines += ["", "| method | operators with the most own time (calls per step) |", "|---|---|"]
    for method, row in found["methods"].items():
        named = "; ".join(
            f"`{o['name']}` {100 * o['share']:.0f} % ({o['calls']:.0f})" for o in row["operators"][:6]
        )
        lines.append(f"| {method} | {named} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """One process per method, then the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        sys.stdout.write("\n" + json.dumps(profile(given.worker, **CASES[given.worker])) + "\n")
        return
    import subprocess

    from harness import _machine

    found: dict[str, Any] = {"machine": _machine(), "load": os.getloadavg()[0], "methods": {}}
    for method in CASES:
        done = subprocess.run(
            [sys.executable, __file__, "--worker", method], stdout=subprocess.PIPE, text=True, check=True
        )
        found["methods"][method] = json.loads(done.stdout.strip().splitlines()[-1])
    (FOLDER / "profile.json").write_text(json.dumps(found, indent=1) + "\n")
    readme = FOLDER / "README.md"
    before, rest = readme.read_text().split(START)
    readme.write_text(before + START + table(found) + END + rest.split(END)[1])
    sys.stdout.write(table(found))


if __name__ == "__main__":
    main()
