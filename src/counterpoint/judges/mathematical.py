"""Whether two answers are mathematically the same, by the library math-verify, in a process that can be stopped.

Parsing and simplifying what a model wrote can take for ever, and a single power may do it. So it happens in a worker with a limit
of memory, which is killed and started anew when an answer takes too long; that answer counts as not the same.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import selectors
import subprocess
import sys
import threading
from pathlib import Path

from counterpoint.errors import MissingExtra

SECONDS, FIRST_SECONDS = 5.0, 60.0
"""How long one comparison may take, and, before the first of a process, the loading of the library."""


class Worker:
    """The process that compares; started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def same(self, given: str, wanted: str, seconds: float = SECONDS) -> bool:
        """Whether a completion's answer is the wanted one; False where that takes too long."""
        with self._lock:
            fresh = self._process is None or self._process.poll() is not None
            process = self._start() if fresh else self._process
            assert process is not None
            if fresh and self._line(process, FIRST_SECONDS) != "ready":
                self.stop()
                return False
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps([given, wanted]) + "\n")
                process.stdin.flush()
            except BrokenPipeError:
                self.stop()
                return False
            line = self._line(process, seconds)
            if not line:  # too long, or too much memory
                self.stop()
            return line == "true"

    def _line(self, process: subprocess.Popen[str], seconds: float) -> str:
        """The next line of the process; empty where none comes in time."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            ready = selector.select(seconds)
        return process.stdout.readline().strip() if ready else ""

    def _start(self) -> subprocess.Popen[str]:
        if importlib.util.find_spec("math_verify") is None:
            raise MissingExtra("math-verify", "math")
        script = Path(__file__).with_name("mathematical_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        atexit.register(self.stop)
        return self._process

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        continue


WORKER = Worker()


def mathematical(completion: str, answer: str) -> float:
    """1 when the completion's final expression equals the answer: numbers, fractions, sets, formulas, LaTeX or plain.

    Raises:
        MissingExtra: math-verify is not installed.
    """
    return float(WORKER.same(completion, answer))
