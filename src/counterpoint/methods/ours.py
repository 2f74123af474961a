"""Which defaults are the paper's and which are ours, as ``ours.toml`` says. No torch."""

from __future__ import annotations

import functools
import tomllib
from fnmatch import fnmatchcase
from importlib.resources import files

EVERY = "*"


@functools.cache
def table() -> dict[str, dict[str, str]]:
    """Method's key (or "*", for all) -> names or patterns of settings -> the paper's own value, "" where it has none."""
    text = files("counterpoint.methods").joinpath("ours.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def ours(key: str, name: str) -> str | None:
    """The paper's own value of a setting whose default is ours, "" where the paper has none; None where the default is the paper's.

    >>> ours("clip", "batch_size"), ours("clip", "norm"), ours("clip", "temperature")
    ('32768', '', None)
    """
    for names in (table().get(key, {}), table()[EVERY]):
        if name in names:
            return names[name]
        matching = next((value for pattern, value in names.items() if fnmatchcase(name, pattern)), None)
        if matching is not None:
            return matching
    return None


def origin(key: str, name: str) -> str:
    """Whose a default is, in words.

    >>> origin("clip", "mask_repeats"), origin("clip", "epochs")
    ('ours; paper: False', 'paper')
    """
    value = ours(key, name)
    return "paper" if value is None else f"ours; paper: {value}" if value else "ours"
