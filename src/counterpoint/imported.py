"""A person's own code by one word: ``package.module:name`` or ``path/file.py:name``. No torch."""

from __future__ import annotations

import importlib
import importlib.util
import traceback
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError

OTHERS = (str(Path(__file__).parent), str(Path(importlib.__file__).parent))
"""Folders whose code is not the person's own: this package and what imports."""


def imported(spec: str, what: str = "a function") -> Any:
    """Import what a word names.

    Args:
        spec: "package.module:name" or "path/file.py:name".
        what: what is expected there, for messages.

    Raises:
        CounterpointError: no such word, file, module or name; an error of the module itself, with its file and line.

    >>> imported("math:sqrt")(4.0)
    2.0
    >>> imported("math")
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: 'math' names no function; write it as package.module:NAME or file.py:NAME
    """
    source, colon, name = spec.rpartition(":")
    if not colon or not source or not name:
        raise CounterpointError(
            f"'{spec}' names no {what.removeprefix('a ')}; write it as package.module:NAME or file.py:NAME"
        )
    try:
        if source.endswith(".py"):
            described = importlib.util.spec_from_file_location(Path(source).stem, source)
            assert described is not None
            assert described.loader is not None
            module = importlib.util.module_from_spec(described)
            described.loader.exec_module(module)
        else:
            module = importlib.import_module(source)
        return getattr(module, name)
    except CounterpointError:
        raise
    except (Exception, SystemExit) as error:  # whatever a person's own module does when it is read
        if isinstance(error, ImportError | FileNotFoundError | AttributeError) and not _line_of(error):
            raise CounterpointError(f"'{spec}' cannot be imported as {what}: {error}") from None
        raise CounterpointError(f"'{spec}' cannot be imported as {what}: {in_a_line(error)}") from None


def in_a_line(error: BaseException) -> str:
    """An error of a person's own code: file, line, its type and what it says.

    >>> try:
    ...     compile("1 +", "own.py", "exec")
    ... except SyntaxError as error:
    ...     in_a_line(error)
    'own.py, line 1: SyntaxError: invalid syntax'
    """
    message = " ".join(str(getattr(error, "msg", None) or error).split())[:300]
    return f"{_line_of(error)}{type(error).__name__}: {message}"


def _line_of(error: BaseException) -> str:
    """The file and line of a module's own error; empty where the error is not inside a module that was read."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: "
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen ", *OTHERS)) and "site-packages" not in frame.filename
    ]
    return f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""
