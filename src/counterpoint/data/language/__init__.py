"""Rows for language models: problems with solutions, and preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.language.preferences import PreferenceData, Preferences, load_preferences
    from counterpoint.data.language.problems import ProblemData, Problems, load_problems

__all__ = ["PreferenceData", "Preferences", "ProblemData", "Problems", "load_preferences", "load_problems"]

__getattr__ = lazy(
    __name__,
    problems=(
        "ProblemData",
        "Problems",
        "load_problems",
    ),
    preferences=(
        "PreferenceData",
        "Preferences",
        "load_preferences",
    ),
)
