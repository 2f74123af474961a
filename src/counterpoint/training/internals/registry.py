"""What a run has registered, by name, and what its checkpoint holds for names that are not registered yet."""

from __future__ import annotations

from typing import Any

from counterpoint.training.state import Stateful, capture, restore


class Registry:
    """Named things whose state survives. What is registered before ``open`` is restored then, later things at once."""

    def __init__(self) -> None:
        self.things: dict[str, Stateful] = {}
        self._saved: dict[str, Any] | None = None

    @property
    def opened(self) -> bool:
        """Whether the checkpoint, or that there is none, is known."""
        return self._saved is not None

    def open(self, saved: dict[str, Any]) -> None:
        """Restore what is registered from a checkpoint's states; keep the rest for what is still to come."""
        self._saved = saved
        for key in self.things:
            self._restore(key)

    def add(self, key: str, thing: Stateful) -> None:
        """Register a thing."""
        self.things[key] = thing
        self._restore(key)

    def forget(self, scope: str) -> None:
        """Drop what was registered, or saved, under names that begin so."""
        self.things = _without(self.things, scope)
        self._saved = _without(self._saved or {}, scope)

    def capture(self) -> dict[str, Any]:
        """The states to save, with those that wait for their thing."""
        return {**(self._saved or {}), **{key: capture(thing) for key, thing in self.things.items()}}

    def _restore(self, key: str) -> None:
        if self._saved and key in self._saved:
            restore(key, self.things[key], self._saved.pop(key))


def _without(named: dict[str, Any], scope: str) -> dict[str, Any]:
    return {key: value for key, value in named.items() if not key.startswith(scope)}
