"""Options of a kind's data, checked by the loader that takes them: one way for every kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError, validate_call

from counterpoint.errors import CounterpointError, nearest

T = TypeVar("T")


def checked_load(
    loader: Callable[..., T],
    spec: str | None,
    options: Mapping[str, Any],
    owner: str,
    *,
    what: str = "data option",
) -> T:
    """Call a loader with options given as values or as text.

    Args:
        loader: its first parameter, where it is "spec" or "name", takes ``spec``; all others are the options.
        spec: a bundled name or a path; None for a loader that takes none.
        options: option -> value; text is read by the type of the parameter.
        owner: what the options are for, for the message, such as "images". what: how the message calls an option.

    Raises:
        CounterpointError: an unknown option (with the nearest name), a value that does not fit its type, or the loader's own.
    """
    first, *_ = parameters = list(inspect.signature(loader).parameters) or [""]
    names = [name for name in parameters if not (name == first and name in ("spec", "name"))]
    for name in options:
        if name not in names:
            raise CounterpointError(f"no {what} '{name}' for {owner}; {nearest(name, names)}")
    try:
        checked = validate_call(loader)
        return checked(**options) if spec is None else checked(spec, **options)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][-1])
        raise CounterpointError(f"{what} {name}={options.get(name)!r}: {wrong['msg'].lower()}") from None
