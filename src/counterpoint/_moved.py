"""Imports by the names that pages used to print keep working: a table of old and new homes, and one import hook.

An old name gives the module at its new place and a DeprecationWarning that says which it is.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_BASELINES = (
    "simclr", "clip", "multiview_pairwise", "sft", "sdft", "gkd", "dpo", "self_rewarding", "lightgcn", "simgcl", "sgl",
    "trajectory_vae", "multi_preference", "preferences_only", "regression", "text_classifier", "tfidf", "spr_ucb",
    "count_ucb", "audio_classifier",
)  # fmt: skip
MOVED = {
    "counterpoint.study.task": "counterpoint.tasks.task",
    "counterpoint.study.query_session": "counterpoint.cli.query_session",
    "counterpoint.data.problems": "counterpoint.data.language.problems",
    "counterpoint.data.preferences": "counterpoint.data.language.preferences",
    "counterpoint.data.pixels": "counterpoint.data.images.pixels",
    "counterpoint.models.vision": "counterpoint.models.images.encoders",
    "counterpoint.models.characters": "counterpoint.models.language.characters",
    "counterpoint.models.adapters": "counterpoint.models.language.adapters",
    "counterpoint.models.likelihood": "counterpoint.models.language.likelihood",
    "counterpoint.models.recommender": "counterpoint.models.interactions.recommender",
    **{f"counterpoint.methods.{name}": f"counterpoint.methods.baselines.{name}" for name in _BASELINES},
}


class _Finder(MetaPathFinder, Loader):
    """Finds the old names only; everything else is left to the finders before it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for a name that moved."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module at its new place, imported now."""
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run: the import system has put the old name's spec into the module, and it goes again."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Add the hook once, behind all others."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
