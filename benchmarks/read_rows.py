"""Opening a million rows: interactions (TSV) and labelled texts (CSV, JSON lines, Parquet), beside the `datasets` library and `pandas`.

    python benchmarks/read_rows.py                                # one process per figure; a table in Markdown
    python benchmarks/read_rows.py 1000000 texts.jsonl            # one of the files

Processor seconds and the peak of resident memory above the start, imports not counted. "rows" is the table reader alone,
which is what the peers do; "data" goes on to splits, numbered ids and labels, ready to train on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

FILES = ("interactions.tsv", "texts.csv", "texts.jsonl", "texts.parquet")
ARMS = ("rows", "data", "datasets", "pandas")


def write(folder: Path, rows: int) -> None:
    """All files, the same for the same number of rows."""
    draw = np.random.default_rng(0)
    user, item = draw.integers(0, 50_000, rows), draw.zipf(1.3, rows) % 20_000
    rating, when = draw.integers(1, 6, rows), draw.integers(8 * 10**8, 9 * 10**8, rows)
    with (folder / "interactions.tsv").open("w") as file:
        file.write("user\titem\trating\ttime\n")
        for row in zip(user.tolist(), item.tolist(), rating.tolist(), when.tolist(), strict=True):
            file.write("\t".join(map(str, row)) + "\n")
    words = np.array([f"word{number}" for number in range(3000)])
    chosen, label = draw.integers(0, 3000, (rows, 12)), draw.integers(0, 5, rows)
    texts = [" ".join(words[row]) + ", and so on" for row in chosen]
    labels = [f"class{kind}" for kind in label.tolist()]
    with (folder / "texts.csv").open("w") as file:
        file.write("text,label\n")
        file.writelines(f'"{text}",{kind}\n' for text, kind in zip(texts, labels, strict=True))
    with (folder / "texts.jsonl").open("w") as file:
        file.writelines(
            json.dumps({"text": t, "label": k}) + "\n" for t, k in zip(texts, labels, strict=True)
        )
    parquet.write_table(pa.table({"text": texts, "label": labels}), folder / "texts.parquet")


def reader(arm: str, path: Path, scratch: str) -> Callable[[], object]:
    """What one arm does with a file; everything it needs is imported."""
    mark = "\t" if path.suffix == ".tsv" else ","
    if arm == "pandas":
        import pandas

        if path.suffix == ".jsonl":
            return lambda: pandas.read_json(path, lines=True)
        if path.suffix == ".parquet":
            return lambda: pandas.read_parquet(path)
        return lambda: pandas.read_csv(path, sep=mark)
    if arm == "datasets":
        import datasets

        datasets.disable_progress_bars()
        if path.suffix in (".jsonl", ".parquet"):
            kind = "json" if path.suffix == ".jsonl" else "parquet"
            return lambda: datasets.load_dataset(kind, data_files=str(path), cache_dir=scratch)
        return lambda: datasets.load_dataset("csv", data_files=str(path), sep=mark, cache_dir=scratch)
    import torch  # noqa: F401

    from counterpoint.data.interactions.load import load_interactions
    from counterpoint.data.tables import read_table
    from counterpoint.data.text.load import load_texts

    if arm == "rows":
        return lambda: read_table(path)
    return lambda: (load_interactions if path.suffix == ".tsv" else load_texts)(path)


def measure(arm: str, path: Path) -> dict[str, float]:
    """Seconds and megabytes of one arm in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        read = reader(arm, path, scratch)
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
        before = status("VmRSS")
        wall, cpu = time.perf_counter(), time.process_time()
        found = read()
        spent = time.process_time() - cpu, time.perf_counter() - wall
        peak = (status("VmHWM") - before) / 1024
        del found
    return {"cpu": round(spent[0], 2), "wall": round(spent[1], 2), "mb": round(peak)}


def status(name: str) -> int:
    """Kilobytes that Linux gives of this process under a name."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def main(rows: int, names: Sequence[str]) -> None:
    """Print the table of these files."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), rows)
        print("| file | arm | CPU s | wall s | peak MB |\n|---|---|---|---|---|")
        for name in names:
            for arm in ARMS:
                command = [sys.executable, __file__, "--one", arm, str(Path(folder) / name)]
                runs = [
                    json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                    for _ in range(3)
                ]
                one = sorted(runs, key=lambda run: run["cpu"])[1]
                print(f"| {name} | {arm} | {one['cpu']} | {one['wall']} | {one['mb']} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, sys.argv[2:] or FILES)
