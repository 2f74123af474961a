"""A person's own code by one word: ``package.module:name`` or ``path/file.py:name``. No torch."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError


def imported(spec: str, what: str = "a function") -> Any:
    """Import what a word names.

    Args:
        spec: "package.module:name" or "path/file.py:name".
        what: what is expected there, for messages.

    Raises:
        CounterpointError: no such word, file, module or name.

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
    except (ImportError, FileNotFoundError, AttributeError) as error:
        raise CounterpointError(f"'{spec}' cannot be imported as {what}: {error}") from None
