"""Runs an installed program on input that nobody trusts: it reads what it is given to read, and can do nothing but compute.

Limits of time, memory and output as of ``sandbox``; a Landlock ruleset lets the program read its libraries and the folders named,
write no file and execute nothing else; a seccomp filter denies network, processes and signals. Where that isolation is not to be
had (Linux 5.13 or newer brings it) nothing runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from counterpoint.errors import CounterpointError
from counterpoint.judges.sandbox import REFUSED, Limits, Outcome, end, watch

CHILD = Path(__file__).with_name("confined_child.py")
LIBRARIES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
)


@dataclass(frozen=True)
class Command:
    """A program and what it may see.

    Attributes:
        words: the program's path and its arguments.
        folder: where it starts; it may read below it.
        reads: more files and folders that it may read; the system's libraries always are.
        environment: all that it gets.
    """

    words: Sequence[str]
    folder: Path
    reads: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def start(command: Command, limits: Limits) -> subprocess.Popen[bytes]:
    """The confined process, with pipes; ``sandbox.end`` ends it.

    Args:
        limits: seconds here is processor time.

    Raises:
        CounterpointError: no isolation is known for this system; nothing ran.
    """
    if not sys.platform.startswith("linux"):
        raise CounterpointError(
            f"provers are only run in isolation, which needs Linux with Landlock and seccomp, and this is {sys.platform}; "
            "judge with another judge here, e.g. judge=verifier"
        )
    job = {
        "command": list(command.words),
        "reads": [str(path) for path in (*LIBRARIES, command.folder, *command.reads)],
        "environment": dict(command.environment),
        "seconds": int(limits.seconds) + 1,
        "memory": limits.memory,
    }
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(CHILD), json.dumps(job)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=command.folder,
        env={},
        close_fds=True,
        start_new_session=True,
    )


def run_confined(command: Command, limits: Limits, text: str = "") -> Outcome:
    """Run a program to its end, with ``text`` as its input.

    Raises:
        CounterpointError: the isolation is not to be had here; nothing ran.
    """
    process = start(command, limits)
    try:
        outcome = watch(process, text.encode(), limits)
    finally:
        end(process)
    demand_isolation(outcome.status, outcome.errors)
    return outcome


def demand_isolation(status: int | None, errors: str) -> None:
    """Refuse to go on where the child could not lock itself in.

    Raises:
        CounterpointError: it could not.
    """
    if status == REFUSED and "no isolation: " in errors:
        raise CounterpointError(
            f"provers are only run in isolation, and {errors.partition('no isolation: ')[2].strip()}; nothing was run. Judge "
            "with another judge here, e.g. judge=verifier"
        )
