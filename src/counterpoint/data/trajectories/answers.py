"""Appends a person's answers to a JSONL file, one whole line at a time. Knows ids, not screens."""

from __future__ import annotations

import json
import os
from pathlib import Path

from counterpoint.data.tables import read_file


class AnswersFile:
    """Answers to similarity queries: lines of ``{"anchor": id, "positive": id, "negative": id}``.

    Args:
        path: created with the first answer; an existing file is continued.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = read_file(path) if path.is_file() and path.stat().st_size else []

    def queries(self) -> set[frozenset[str]]:
        """The triples already answered, in no order."""
        return {frozenset(str(row[name]) for name in ("anchor", "positive", "negative")) for row in self.rows}

    def add(self, anchor: str, positive: str, negative: str) -> None:
        """Write an answer down before the next question is put."""
        row = {"anchor": anchor, "positive": positive, "negative": negative}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)

    def undo(self) -> bool:
        """Take the last answer back; False when there is none."""
        if not self.rows:
            return False
        self.rows.pop()
        aside = self.path.with_suffix(".writing")
        aside.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        os.replace(aside, self.path)
        return True
