"""The reproduction cases that methods have, one file each."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.errors import CounterpointError
from counterpoint.methods import catalog

if TYPE_CHECKING:
    from counterpoint.study.case import Case


STUDIES = ("real-model",)
"""Cases of several methods, which belong to none."""


def case(key: str) -> Case:
    """The reproduction case of a method, or the study of that name."""
    row = None if key in STUDIES else catalog.row(key)
    name = f"{__name__}." + key.replace("-", "_")
    if importlib.util.find_spec(name) is None:
        there = ", ".join(cases()) or "none yet"
        reason = "is planned" if row is not None and not row.ready else "has no reproduction case"
        raise CounterpointError(f"'{key}' {reason}; cases there are: {there}")
    result = getattr(importlib.import_module(name), "CASE", None)
    if result is None:
        raise CounterpointError(f"{name} holds no CASE; end the file with CASE = Case(...)")
    return result


def case_file(key: str) -> Path:
    """The file that holds a method's case."""
    case(key)
    return Path(__file__).parent / (key.replace("-", "_") + ".py")


def cases() -> list[str]:
    """Keys of the methods that have a reproduction case."""
    folder = Path(__file__).parent
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    return [key for key in catalog.rows() if key.replace("-", "_") in files]
