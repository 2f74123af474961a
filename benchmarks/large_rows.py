"""Opens rows that stay on disk: seconds and peak memory of the first opening, of later ones, and of random batches.

    python benchmarks/large_rows.py [rows] [jsonl|parquet|csv] [problems|interactions|text]

Writes the file (10,000,000 rows by default) into a temporary folder, opens it in fresh processes, and prints a table row a
step. "held" is the peak of memory that the system cannot take back (RssAnon, read every 20 ms, less what the imports hold);
pages of mapped files, which it can, are not in it. Needs some gigabytes of disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

BATCHES, BATCH = 200, 64


def row(number: int, kind: str) -> dict[str, Any]:
    """A made problem or text of about 150 characters; or an interaction, every other one of a user of 25, the others of a million users."""
    a, b = number, (number * 7919) % 1_000_003
    if kind == "text":
        words = " ".join(f"word{(a * step) % 5003}" for step in range(7, 21))
        return {"text": f"{words} {a}", "label": f"class {b % 4}"}
    if kind == "interactions":
        return {
            "user_id": f"u{a // 50 if a % 2 else b}",
            "item_id": (a * a + 7 * b) % 50_021,
            "rating": a % 5 + 1,
            "timestamp": 881250949 + b,
        }
    return {
        "prompt": f"There are {a} apples in one barn and {b} in another. How many are there in both together?",
        "completion": f"Add {a} and {b}, which gives {a + b}.\nAnswer: {a + b}",
        "answer": str(a + b),
    }


def write(path: Path, rows: int, kind: str) -> None:
    """The file, a part at a time."""
    if path.suffix != ".parquet":
        with path.open("w", encoding="utf-8") as file:
            if path.suffix == ".csv":
                file.write(",".join(row(0, kind)) + "\n")
            for number in range(rows):
                made = row(number, kind)
                file.write(
                    (json.dumps(made) if path.suffix == ".jsonl" else ",".join(map(str, made.values())))
                    + "\n"
                )
        return
    import pyarrow as pa
    import pyarrow.parquet as parquet

    writer = None
    for start in range(0, rows, 100_000):
        part = pa.Table.from_pylist(
            [row(number, kind) for number in range(start, min(rows, start + 100_000))]
        )
        writer = writer or parquet.ParquetWriter(path, part.schema)
        writer.write_table(part)
    if writer is not None:
        writer.close()


class Held:
    """Peak of this process's anonymous memory in MB above what it had, while the block runs."""

    def __enter__(self) -> Held:
        self.before = self.peak = self._now()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        self.start, self.processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: Any) -> None:
        self.seconds = time.perf_counter() - self.start
        self.cpu = time.process_time() - self.processor
        self.done.set()
        self.thread.join()

    @property
    def megabytes(self) -> float:
        """Of the peak above the start."""
        return (max(self.peak, self._now()) - self.before) / 1024

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> int:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])


def measure(path: str, rows: str, kind: str) -> None:
    """In a process of its own: open, then read random batches; prints JSON."""
    import torch

    from counterpoint.tasks.task import task

    loads = task(kind)
    with Held() as opening:
        data = loads.load_data(path, rows=rows)
        data.describe()
        data.fingerprint()
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    with Held() as reading:
        for step in range(BATCHES):
            assert len(data.train[order[step * BATCH : (step + 1) * BATCH]]) == BATCH
    print(
        json.dumps(
            {
                "opening": [opening.seconds, opening.cpu, opening.megabytes],
                "batch": [1000 * reading.seconds / BATCHES, 1000 * reading.cpu / BATCHES, reading.megabytes],
            }
        )
    )


def main() -> None:
    """Write, measure, print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    suffix = sys.argv[2] if len(sys.argv) > 2 else "parquet"
    kind = sys.argv[3] if len(sys.argv) > 3 else "problems"
    print("| step | wall | processor | held |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="large-rows-") as folder:
        path = Path(folder) / f"rows.{suffix}"
        write(path, rows, kind)
        print(f"| file of {rows:,} rows | {path.stat().st_size / 2**20:,.0f} MB | | |", flush=True)
        for step, held in (("first opening", "disk"), ("second opening", "disk"), ("in memory", "memory")):
            if held == "memory" and rows > 1_000_000:
                continue  # such a file is what does not fit
            done = subprocess.run(
                [sys.executable, __file__, "--measure", str(path), held, kind],
                check=True, capture_output=True, text=True, env={**os.environ, "COUNTERPOINT_CACHE": folder},
            )  # fmt: skip
            result = json.loads(done.stdout.strip().splitlines()[-1])
            wall, cpu, memory = result["opening"]
            print(f"| {step} | {wall:,.1f} s | {cpu:,.1f} s | {memory:,.0f} MB |", flush=True)
            wall, cpu, memory = result["batch"]
            print(
                f"| a random batch of {BATCH} | {wall:.2f} ms | {cpu:.2f} ms | {memory:,.0f} MB |", flush=True
            )


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure(*sys.argv[2:])
    else:
        main()
