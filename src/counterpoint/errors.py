"""Errors that teach: what was given, what was expected, the call that works. Knows nothing of torch."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable


class CounterpointError(Exception):
    """Something the person can mend. The command line prints its text as one message and exits with 2."""


class MissingExtra(CounterpointError):
    """A dependency that only some methods need is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}': pip install 'counterpoint[{extra}]'")


def nearest(given: str, choices: Iterable[str]) -> str:
    """Return a hint with the known name closest to the given one, or the list of all known names.

    >>> nearest("temprature", ["temperature", "weighted"])
    "did you mean 'temperature'?"
    >>> nearest("zzz", ["b", "a"])
    'known: a, b'
    """
    names = sorted(choices)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else "known: " + ", ".join(names)


def data_option(name: str, value: object) -> str:
    """A data option as it is typed in a shell, for messages.

    >>> data_option("size", 64), data_option("leave_out", "shoe size")
    ('--data-option size=64', "--data-option 'leave_out=shoe size'")
    """
    return f"--data-option {shlex.quote(f'{name}={value}')}"
