"""What a server was sent and gave back, as JSON lines: a run that was killed reads replies here and does not pay for them twice.

A line is ``{"key", "model", "reply", "usage": {"requests", "prompt_tokens", "completion_tokens", "cost"}}``; the key is a digest of
the request. Lines are appended whole, so that threads and processes can share a file; a torn last line is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = "requests.jsonl"
COUNTS = ("requests", "prompt_tokens", "completion_tokens", "cost")


class Journal:
    """Replies by request.

    Args:
        path: the file; made when there is something to write.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / FILE
    >>> Journal(path).add("k", "m", {"choices": []}, {"requests": 1})
    >>> Journal(path).reply("k"), Journal(path).reply("other")
    ({'choices': []}, None)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._replies = {row["key"]: row["reply"] for row in read(path)}

    def reply(self, key: str) -> Any:
        """What the server gave to this request, or None."""
        return self._replies.get(key)

    def add(self, key: str, model: str, reply: Any, usage: Mapping[str, float]) -> None:
        """Append a reply."""
        line = json.dumps({"key": key, "model": model, "reply": reply, "usage": dict(usage)}) + "\n"
        with self._lock:
            self._replies[key] = reply
            if self.path.exists() and self.path.read_bytes()[-1:] not in (b"\n", b""):
                line = "\n" + line  # the last line was torn
            number = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(number, line.encode())
                os.fsync(number)
            finally:
                os.close(number)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal that are whole; none without a file."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            if {"key", "reply", "usage"} <= row.keys():
                rows.append(row)
        except (ValueError, AttributeError):
            continue
    return rows


def used(path: Path) -> dict[str, float]:
    """Requests, tokens and cost of a journal, in all; empty without one."""
    rows = read(path)
    return {name: sum(float(row["usage"].get(name, 0)) for row in rows) for name in COUNTS} if rows else {}


def keys_of(url: str, bodies: Sequence[Mapping[str, Any]]) -> list[str]:
    """A key for each request of a call; equal requests of one call are numbered, for their replies may differ."""
    counted: Counter[str] = Counter()
    keys = []
    for body in bodies:
        text = json.dumps([url, body], sort_keys=True)
        counted[text] += 1
        keys.append(hashlib.sha256(f"{text}#{counted[text]}".encode()).hexdigest()[:32])
    return keys
