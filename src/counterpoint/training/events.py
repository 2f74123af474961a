"""What happened, as JSON lines, on the progress bar and in optional trackers. Knows nothing of training."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

logger = logging.getLogger("counterpoint")
QUIET_SECONDS = 30.0
"""How long a run says nothing off a terminal."""


class Events:
    """Append-only ``events.jsonl``; on resume it is cut back to what the checkpoint had seen.

    Every line holds what was given plus ``time`` (seconds since the epoch), the only part that differs between an
    unbroken and a resumed run.
    """

    def __init__(self, path: Path, write: bool) -> None:
        self.path, self.enabled = path, write
        self.file = path.open("a", encoding="utf-8") if write else None

    def emit(self, **fields: Any) -> None:
        """Append one event."""
        if self.file is not None:
            self.file.write(json.dumps({**fields, "time": round(time.time(), 3)}) + "\n")
            self.file.flush()

    @property
    def lines(self) -> int:
        """Number of events written so far."""
        if not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            return sum(1 for _ in file)

    def cut(self, lines: int) -> None:
        """Keep the first ``lines`` events (a torn last line goes as well)."""
        if self.file is None:
            return
        self.file.close()
        with self.path.open("rb+") as file:
            for _ in range(lines):
                file.readline()
            file.truncate(file.tell())
            file.flush()
            os.fsync(file.fileno())
        self.file = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
            self.file = None


def progress_bar() -> Progress:
    """The bar that every long command shows; silent when standard error is not a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


class Bar:
    """One line of a progress display, owned or shared; off a terminal, a line in the log every half minute."""

    def __init__(self, progress: Progress | bool | None) -> None:
        self.owned = not isinstance(progress, Progress) and progress is not False
        self.progress = (
            progress if isinstance(progress, Progress) else (progress_bar() if self.owned else None)
        )
        self.task: TaskID | None = None
        self.started = False
        self._spoke = time.monotonic()

    def show(self, description: str, done: float, total: float | None, note: str = "") -> None:
        """Draw the state of the loop at hand."""
        if self.progress is None:
            return
        if self.progress.disable:
            self._speak(description, done, total, note)
            return
        if self.owned and not self.started:
            self.progress.start()
            self.started = True
        if self.task is None:
            self.task = self.progress.add_task(description, note=note)
        self.progress.update(self.task, description=description, completed=done, total=total, note=note)

    def _speak(self, description: str, done: float, total: float | None, note: str) -> None:
        now = time.monotonic()
        if now - self._spoke >= QUIET_SECONDS:
            self._spoke = now
            share = f"{done:g}" if total is None else f"{done:g} of {total:g}"
            logger.warning(f"{description}: {share}{', ' if note else ''}{note}")

    def close(self) -> None:
        """Remove the line."""
        if self.progress is not None and self.task is not None:
            self.progress.remove_task(self.task)
            self.task = None
        if self.progress is not None and self.owned and self.started:
            self.progress.stop()
            self.started = False
