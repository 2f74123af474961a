"""Runs a program that nobody trusts, in a process that can do nothing but compute, and says how it ended.

The process has a time, a memory and an output limit, an empty environment and folder, a session of its own, and a seccomp filter
that denies every system call but those of computing (``sandbox_child``): it opens no file, neither here nor there, no socket and no
process, and signals nobody. Its program has the standard library's modules that need no files. Where that isolation is not to be had
nothing runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError

CHILD = Path(__file__).with_name("sandbox_child.py")
REFUSED = 97


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: of wall-clock time. memory: bytes of address space. output: bytes of either stream.
    """

    seconds: float = 5.0
    memory: int = 512 * 2**20
    output: int = 2**16


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        status: its exit status, 0 when it came to its end; negative is a signal; None when it was stopped.
        output, errors: what it wrote, as far as the limit.
        stopped: why it was stopped, or empty.
    """

    status: int | None
    output: str
    errors: str
    stopped: str = ""

    @property
    def why(self) -> str:
        """One line on what went wrong; empty where nothing did."""
        if self.stopped:
            return self.stopped
        if self.status == 0:
            return ""
        if self.status is not None and self.status < 0:
            return f"ended by signal {signal.Signals(-self.status).name}"
        lines = self.errors.strip().splitlines()
        return lines[-1][-300:] if lines else f"exit status {self.status}"


OUT_OF_TIME = (-signal.SIGXCPU, -signal.SIGKILL)
"""How the kernel ends a process whose processor time is used up."""


def run_program(job: dict[str, Any], limits: Limits = Limits()) -> Outcome:
    """Run one program in isolation.

    Args:
        job: "code" with "input" (a program that reads and writes), or with "tests" and "nonce" (``sandbox_child.run_tests``).

    Raises:
        CounterpointError: the isolation is not to be had here; nothing ran.
    """
    if not sys.platform.startswith("linux"):
        raise CounterpointError(
            f"programs are only run in isolation, which needs Linux with seccomp, and this is {sys.platform}; judge with "
            "another judge here, e.g. judge=verifier"
        )
    given = {**job, "seconds": int(limits.seconds) + 1, "memory": limits.memory}
    with tempfile.TemporaryDirectory(prefix="counterpoint-sandbox-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={},
            close_fds=True,
            start_new_session=True,
        )
        try:
            outcome = watch(process, json.dumps(given).encode(), limits)
        finally:
            end(process)
    if outcome.status == REFUSED and "no isolation: " in outcome.errors:
        raise CounterpointError(
            f"programs are only run in isolation, and {outcome.errors.partition('no isolation: ')[2].strip()}; nothing was "
            "run. Judge with another judge here, e.g. judge=verifier"
        )
    return outcome


def watch(process: subprocess.Popen[bytes], job: bytes, limits: Limits) -> Outcome:
    """Feed the job, collect what comes, and stop the process at a limit."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    streams: dict[int, bytearray] = {
        process.stdout.fileno(): bytearray(),
        process.stderr.fileno(): bytearray(),
    }
    out, err = streams
    deadline, stopped, left = time.monotonic() + limits.seconds + 1.0, "", memoryview(job)
    with selectors.DefaultSelector() as selector:
        for number in streams:
            selector.register(number, selectors.EVENT_READ)
        feed = process.stdin.fileno()
        os.set_blocking(feed, False)
        selector.register(feed, selectors.EVENT_WRITE)
        while not stopped and selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                stopped = f"stopped after {limits.seconds:g} seconds"
                break
            for key, _ in ready:
                if key.fd == feed:
                    try:
                        left = left[os.write(feed, left[: 2**16]) :]
                    except BrokenPipeError:
                        left = left[:0]
                    if not left:
                        selector.unregister(feed)
                        process.stdin.close()
                    continue
                piece = os.read(key.fd, 2**14)
                streams[key.fd] += piece
                if not piece:
                    selector.unregister(key.fd)
                elif len(streams[key.fd]) > limits.output:
                    stopped = f"stopped after {limits.output} bytes of output"
    status: int | None = None
    if not stopped:
        try:
            status = process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            stopped = f"stopped after {limits.seconds:g} seconds"
        if status in OUT_OF_TIME and time.monotonic() >= deadline - 1.0:  # its processor time may end first
            status, stopped = None, f"stopped after {limits.seconds:g} seconds"
    text, errors = (bytes(streams[n][: limits.output]).decode(errors="replace") for n in (out, err))
    return Outcome(status, text, errors, stopped)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the process, and its pipes."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None and not stream.closed:
            stream.close()
