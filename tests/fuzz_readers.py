"""Throws damaged files at every reader of tables: nothing but CounterpointError may come out, in bounded time and memory.

    python tests/fuzz_readers.py 100000        # so many inputs in all; the first failure is saved and named

An input is a good file of one format with something done to it: bytes changed, cut out, repeated or put in, the end cut off,
objects laid in one another, huge headers, marks of other encodings. Seeds make every input anew.
"""

from __future__ import annotations

import io
import json
import random
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from counterpoint.data.images.captions import read_captions
from counterpoint.data.interactions.load import load_interactions
from counterpoint.data.language import preferences, problems
from counterpoint.data.regression.load import load_regression
from counterpoint.data.tables import read_splits, read_table
from counterpoint.data.text.load import load_texts
from counterpoint.data.trajectories.files import load_trajectory_files
from counterpoint.errors import CounterpointError

SECONDS, MEGABYTES = 10.0, 600
COUNT = 30


def columns(kind: str) -> dict[str, list[object]]:
    """A small good table of a kind."""
    numbers = list(range(COUNT))
    return {
        "text": {
            "text": [f"a film, number {n}" for n in numbers],
            "label": [("good", "bad")[n % 2] for n in numbers],
        },
        "problems": {"prompt": [f"what is {n}+1?" for n in numbers], "answer": [str(n + 1) for n in numbers]},
        "preferences": {
            "prompt": [f"{n}+1=" for n in numbers],
            "chosen": [str(n + 1) for n in numbers],
            "rejected": [str(n) for n in numbers],
        },
        "interactions": {
            "user": [n % 6 for n in numbers],
            "item": [n * 7 % 11 for n in numbers],
            "rating": [n % 5 + 1.5 for n in numbers],
            "time": [f"2024-01-{n % 28 + 1:02d}T10:00:00Z" for n in numbers],
        },
        "regression": {
            "size": [n * 0.37 % 5 for n in numbers],
            "colour": [("red", "blue", "")[n % 3] for n in numbers],
            "target": [float(n % 7) for n in numbers],
        },
        "captions": {"file": [f"{n}.png" for n in numbers], "caption": [f"a red flag {n}" for n in numbers]},
        "trajectories": {
            "id": [f"t{n}" for n in numbers],
            "states": [[[float(n), 1.0], [2.0, float(n)]] for n in numbers],
        },
    }[kind]  # type: ignore[return-value]


def written(table: dict[str, list[object]], suffix: str) -> bytes:
    """The table as a file."""
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    if suffix == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if suffix == ".json":
        return json.dumps(rows).encode()
    if suffix == ".parquet":
        sink = io.BytesIO()
        pyarrow.parquet.write_table(pa.table(table), sink)
        return sink.getvalue()
    mark = "\t" if suffix == ".tsv" else ","
    cell = lambda value: f'"{value}"' if mark in str(value) else str(value)  # noqa: E731
    lines = [mark.join(table), *(mark.join(cell(value) for value in row.values()) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The file with one to four things done to it."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(content) + 1)
        content = draw.choice(HARM)(content, at, draw)
    return content


def _nest(content: bytes, at: int, draw: random.Random) -> bytes:
    depth = draw.choice([10, 1000, 200_000])
    opening = draw.choice([b"[", b'{"a":', b'"', b"[[1],"])
    return content[:at] + opening * depth + content[at:]


HARM: tuple[Callable[[bytes, int, random.Random], bytes], ...] = (
    lambda c, at, d: c[:at],
    lambda c, at, d: c[at:],
    lambda c, at, d: c[:at] + d.randbytes(d.randint(1, 40)) + c[at:],
    lambda c, at, d: c[:at] + d.randbytes(1) + c[at + 1 :],
    lambda c, at, d: c[:at] + c[at + d.randint(1, 30) :],
    lambda c, at, d: c[:at] + c[max(0, at - 50) : at] * d.choice([1, 3, 500]) + c[at:],
    lambda c, at, d: (
        c[:at] + d.choice([b'"', b"\r", b"\n", b"\0", b",,,", b"\t", b'""', b"\\", b"::", b"\x1f"]) + c[at:]
    ),
    lambda c, at, d: c[:at] + d.choice(["\u2028", "\x85", "\ufeff", "é", "\U0001f600"]).encode() + c[at:],
    lambda c, at, d: (
        c[:at] + d.choice([b"NaN", b"null", b"-1e999", b"9" * 5000, b"\\ud800", b"007", b"?"]) + c[at:]
    ),
    lambda c, at, d: d.choice([b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xff\xfe\0\0"]) + c,
    lambda c, at, d: c.decode("latin-1").encode(d.choice(["utf-16", "utf-16-le", "utf-32", "cp500"])),
    lambda c, at, d: b"x" * d.choice([200, 200_000]) + d.choice([b",", b"\t", b""]) + c,
    lambda c, at, d: b",".join(b"c%d" % n for n in range(d.choice([3, 20_000]))) + b"\n" + c,
    _nest,
    lambda c, at, d: b"",
    lambda c, at, d: d.randbytes(d.randint(0, 300)),
)

TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


def _table(path: Path) -> None:
    for table in (read_table(path), *read_splits(path)["all"]):
        list(table.rows())
        table.gap_notes()
        for name in table.names:
            table.values(name)
            table.column(name)


READERS: dict[str, tuple[str, tuple[str, ...], Callable[[Path], object]]] = {
    **{f"table{suffix}": ("text", (suffix,), _table) for suffix in TEXT_SUFFIXES},
    "text": ("text", TEXT_SUFFIXES, lambda path: load_texts(path, empty="skip").describe()),
    "problems": ("problems", TEXT_SUFFIXES, lambda path: problems.load(path).fingerprint()),
    "preferences": ("preferences", TEXT_SUFFIXES, lambda path: preferences.load(path).fingerprint()),
    "interactions": (
        "interactions",
        (".csv", ".tsv", ".txt", ".jsonl", ".parquet"),
        lambda path: load_interactions(path, split="time").fingerprint(),
    ),
    "regression": (
        "regression",
        TEXT_SUFFIXES,
        lambda path: load_regression(path, missing="mean").describe(),
    ),
    "captions": (
        "captions",
        TEXT_SUFFIXES,
        lambda path: read_captions(path, [f"{n}.png" for n in range(COUNT)]),
    ),
    "trajectories": (
        "trajectories",
        (".jsonl", ".json", ".parquet"),
        lambda path: load_trajectory_files(str(path)),
    ),
}
"""What is tried: a good table's kind, the endings it is written with, and what reads it."""


def attempt(reader: str, seed: int, folder: Path) -> tuple[str, Path]:
    """Read one damaged file; what went wrong ("" when nothing did), and the file.

    Everything that is no CounterpointError is wrong, and so is one that does not name the file or takes too long.
    """
    kind, suffixes, read = READERS[reader]
    draw = random.Random(f"{reader}/{seed}")
    suffix = draw.choice(suffixes)
    path = folder / f"input{suffix}"
    path.write_bytes(damaged(written(columns(kind), ".csv" if suffix == ".txt" else suffix), draw))
    start = time.process_time()  # the processor's, so that a busy machine is no failure
    try:
        read(path)
    except CounterpointError:
        pass
    except BaseException:
        return traceback.format_exc(), path
    spent = time.process_time() - start
    return f"{spent:.1f} seconds" if spent > SECONDS else "", path


def memory() -> float:
    """Most megabytes that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(count: int) -> int:
    """Try ``count`` inputs, shared out among the readers."""
    start, before = time.perf_counter(), memory()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            reader = list(READERS)[number % len(READERS)]
            wrong, path = attempt(reader, number // len(READERS), Path(folder))
            if memory() - before > MEGABYTES:
                wrong = wrong or f"{memory() - before:.0f} MB more than before"
            if wrong:
                saved = Path(f"fuzz-failure{path.suffix}")
                saved.write_bytes(path.read_bytes())
                print(f"{reader}, seed {number // len(READERS)}: {saved} holds the input\n{wrong}")
                return 1
            if (number + 1) % 10_000 == 0:
                print(
                    f"{number + 1:,} inputs, {time.perf_counter() - start:.0f} s, {memory() - before:.0f} MB",
                    flush=True,
                )
    print(f"{count:,} inputs, nothing but CounterpointError, {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
