"""Errors that teach: what was given, what was expected, the call that works. Knows nothing of torch."""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import PurePath


class CounterpointError(Exception):
    """Something the person can mend. The command line prints its text as one message and exits with 2."""


class FolderInUse(CounterpointError):
    """Another process is running in a folder, which is to be left as it is."""


class UnusableRow(CounterpointError):
    """A row of data that cannot be used, whatever the others are: where rows may be left out, it may."""


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


def counted(count: int, one: str, many: str | None = None, form: str = "") -> str:
    """A count with the words that go with one or with several; several are ``one`` and an s unless ``many`` says otherwise.

    >>> counted(1, "row"), counted(2, "row"), counted(1, "row has", "rows have"), counted(2000, "user", form=",")
    ('1 row', '2 rows', '1 row has', '2,000 users')
    """
    return f"{count:{form}} {one if count == 1 else many or one + 's'}"


def require_utf8(value: object, what: str) -> None:
    r"""Refuse names whose bytes are no UTF-8, all through nested plain data, which no record of a run could hold.

    Raises:
        CounterpointError: such a name.

    >>> require_utf8("caf\udce9.csv", "--data")
    Traceback (most recent call last):
    ...
    counterpoint.errors.CounterpointError: --data: the bytes of 'caf\xe9.csv' are no UTF-8; rename it (for many: convmv -f latin1 -t utf8)
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            require_utf8(name, what)
            require_utf8(item, what)
    elif isinstance(value, list | tuple):
        for item in value:
            require_utf8(item, what)
    elif isinstance(value, str | PurePath):
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            if locale := other_locale(str(value)):
                raise CounterpointError(f"{what}: {locale}") from None
            shown = str(value).encode("utf-8", "backslashreplace").decode().replace("\\udc", "\\x")
            raise CounterpointError(
                f"{what}: the bytes of '{shown}' are no UTF-8; rename it (for many: convmv -f latin1 -t utf8)"
            ) from None


def other_locale(name: str) -> str | None:
    """What to say of a name that is UTF-8 but was read as something else, because the locale says so; None where it is no UTF-8."""
    try:
        meant = os.fsencode(name).decode("utf-8")
    except UnicodeError:
        return None
    encoding = sys.getfilesystemencoding()
    return (
        f"this locale reads names as {encoding}, and '{meant}' is UTF-8; set PYTHONUTF8=1, or LC_ALL=C.UTF-8"
    )


def data_option(name: str, value: object) -> str:
    """A data option as it is typed in a shell, for messages.

    >>> data_option("size", 64), data_option("leave_out", "shoe size")
    ('--data-option size=64', "--data-option 'leave_out=shoe size'")
    """
    return f"--data-option {shlex.quote(f'{name}={value}')}"
