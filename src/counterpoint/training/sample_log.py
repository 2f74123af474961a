"""What a run sampled and how it was judged, as JSON lines: ``samples.jsonl`` in its folder, one line a prompt.

``{"step", "prompt", "answers": [{"text", "rewards": {judge: number or null}, ...}]}``. Like the events it is cut back on resume to
what the checkpoint had seen, so that every sample stands there once.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import torch

from counterpoint.training import distributed

FILE = "samples.jsonl"
Row = Mapping[str, Any]


class SampleLog:
    """Append-only; written by the first process, with the rows of all.

    Args:
        folder: of the run. write: whether this process writes.
    """

    def __init__(self, folder: Path, write: bool) -> None:
        self.path, self.enabled, self.lines = folder / FILE, write, 0

    def add(self, rows: Iterable[Row], step: int) -> None:
        """Append this process's rows and the others'; the file is there from the first row on. Every process must call it.

        Of one process rows are written as they come, and not held.
        """
        if distributed.world()[1] > 1:
            every: list[list[Row]] = [[] for _ in range(distributed.world()[1])]
            torch.distributed.all_gather_object(every, list(rows))
            rows = (row for part in every for row in part)
        with ExitStack() as opened:
            file: TextIO | None = None
            for row in rows:
                self.lines += 1
                if self.enabled:
                    file = file or opened.enter_context(self.path.open("a", encoding="utf-8"))
                    file.write(json.dumps({"step": step, **_plain(row)}, ensure_ascii=False) + "\n")

    def cut(self, lines: int) -> None:
        """Keep the first ``lines`` rows."""
        self.lines = lines
        if not self.enabled or not self.path.exists():
            return
        with self.path.open("rb+") as file:
            for _ in range(lines):
                file.readline()
            file.truncate(file.tell())
            os.fsync(file.fileno())


def _plain(value: Any) -> Any:
    """Numbers that JSON has not are null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
