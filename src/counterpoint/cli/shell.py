"""What every command shares: errors as one message, signals that save, progress that is quiet off a terminal. No torch."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from counterpoint import launched
from counterpoint.errors import CounterpointError, require_utf8

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])


class Terminated(KeyboardInterrupt):
    """SIGTERM, which a command leaves by as it does by Ctrl-C."""

    number = signal.SIGTERM


def command(function: F) -> F:
    """Wrap a command: what a person can mend is one message on standard error and status 2, a signal is 128 + its number."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        listening = threading.current_thread() is threading.main_thread()
        former = signal.signal(signal.SIGTERM, _terminate) if listening else None
        try:
            _quiet()
            for name, value in kwargs.items():
                require_utf8(value, f"--{name.replace('_', '-')}")
            return function(*args, **kwargs)
        except CounterpointError as error:
            complain(str(error))
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            tell(_stopped(kwargs.get("out")))
            raise typer.Exit(128 + getattr(stop, "number", signal.SIGINT)) from None
        except BrokenPipeError:
            silence()
            raise typer.Exit(0) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            complain(
                f"no space left on the device ({error.filename or 'while writing'}); free some and run it again"
            )
            raise typer.Exit(2) from None
        except SystemExit as stop:
            message = getattr(stop, "message", None)
            if message is None:
                raise
            if speaks():
                tell(message)
            raise typer.Exit(int(stop.code or 0)) from None
        finally:
            if listening:
                signal.signal(signal.SIGTERM, former)

    return guarded  # type: ignore[return-value]


def silence() -> None:
    """Let what is still to be printed go nowhere: the reader of standard output has left."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError):  # a stream of no file, which holds what was printed so far
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (for the life of the process)


PLAIN = {"\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00b7": "*", "\u2026": "...", "\u00b1": "+-", "\u2192": "->", "\u2019": "'", "\u2193": "v"}  # fmt: skip
"""What stands for a character that a terminal cannot show; a minus that became a question mark would take a figure's sign."""


def show_plainly(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding lacks, as an error handler of ``codecs``.

    >>> import codecs
    >>> codecs.register_error("plainly", show_plainly)
    >>> "\u22120.5 \u2013 \u6771".encode("ascii", "plainly")
    b'-0.5 - ?'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter, "?") for letter in lost), error.end


def _terminate(*_: object) -> None:
    raise Terminated


def _stopped(out: Any) -> str:
    """What a person reads after a signal; "saved" only where something is."""
    saved = isinstance(out, Path) and any(
        next(out.glob(pattern), None) is not None
        for pattern in (
            *("result.json", "checkpoints/step-*", "stages/*"),
            *(
                "runs/*/*/result.json",
                "runs/*/*/checkpoints/step-*",
                "runs/*/*/stages/*",
                "tuning/**/result.json",
            ),
        )
    )
    if saved:
        return f"stopped; what is done is saved in {out}, and the same command goes on from there"
    return "stopped; nothing was saved"


class _StandardError(logging.Handler):
    """Writes to what standard error is at that moment; a line once a command, however many of its runs say it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        line = self.format(record)
        if line in self.lines:
            return
        self.lines.add(line)
        with contextlib.suppress(ValueError, OSError):  # closed, or nobody reads it
            print(line, file=sys.stderr, flush=True)


def _quiet() -> None:
    """Send warnings of the package to standard error, one line each."""
    logger = logging.getLogger("counterpoint")
    if not logger.handlers:
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    for each in logger.handlers:
        if isinstance(each, _StandardError):
            each.lines.clear()  # another command in the same process


def speaks() -> bool:
    """Whether this process prints results: the only one, or the first of several."""
    return launched.first()


def complain(message: str) -> None:
    """Say what is wrong, on standard error."""
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(message, err=True)


def tell(message: str) -> None:
    """Say something that is no result, on standard error."""
    typer.echo(message, err=True)


def console() -> Console:
    """The console for results, on standard output: as wide as the terminal, and wide enough for tables in a file."""
    from rich.console import Console

    class Screen(Console):
        """Ends with 0 when the reader of standard output has left; rich would end with 1."""

        def on_broken_pipe(self) -> None:
            silence()
            raise typer.Exit(0)

    terminal = sys.stdout is not None and sys.stdout.isatty()
    return Screen(width=None if terminal else 120, highlight=False)


@contextmanager
def progress() -> Iterator[Progress | None]:
    """A progress display shared by all runs of a command; None off a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from counterpoint.training.events import progress_bar

    with progress_bar() as shown:
        yield shown
