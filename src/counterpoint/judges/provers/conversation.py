"""A confined program that stays and answers JSON by JSON, each with a time and a length limit."""

from __future__ import annotations

import json
import os
import selectors
import time
from typing import Any

from counterpoint.judges.provers.confined import Command, demand_isolation, start
from counterpoint.judges.sandbox import Limits, end

DAYS = 10**6
"""Seconds of processor time of a process that stays; its answers are limited one by one."""


class Silent(Exception):
    """No answer that can be read came in time; the process should be ended."""


class Conversing:
    """The process; ``ask`` raises ``Silent`` where no answer comes.

    Args:
        command: what to start.
        limits: seconds and bytes of an answer, memory of the process.
    """

    def __init__(self, command: Command, limits: Limits) -> None:
        self.limits = limits
        self.process = start(command, Limits(DAYS, limits.memory, limits.output))
        self._read = bytearray()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write a request and a blank line; read one JSON object.

        Raises:
            Silent: too late, too long, not JSON, or more than one answer.
            CounterpointError: the process could not be confined.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        deadline = time.monotonic() + self.limits.seconds
        try:
            self.process.stdin.write(json.dumps(request, ensure_ascii=False).encode() + b"\n\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Silent(self._ended()) from None
        number = self.process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(number, selectors.EVENT_READ)
            while True:
                whole, _, rest = bytes(self._read).partition(b"\n\n")
                answer = _object(whole)
                if answer is not None and (_ or bytes(self._read).endswith(b"}\n")):
                    if rest.strip():
                        raise Silent("more than one answer came")
                    self._read.clear()
                    return answer
                if len(self._read) > self.limits.output:
                    raise Silent(f"stopped after {self.limits.output} bytes of output")
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise Silent(f"stopped after {self.limits.seconds:g} seconds")
                piece = os.read(number, 2**14)
                if not piece:
                    raise Silent(self._ended())
                self._read += piece

    def close(self) -> None:
        """End the process."""
        end(self.process)

    def _ended(self) -> str:
        assert self.process.stderr is not None
        status = self.process.wait()
        errors = self.process.stderr.read(2**16).decode(errors="replace")
        demand_isolation(status, errors)
        return f"the process ended with status {status}"


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        result = json.loads(text)
    except ValueError:
        return None
    return result if isinstance(result, dict) else None
