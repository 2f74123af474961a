"""Names that stay the same when ``fit`` is executed again: by round, and numbered where one is used twice."""

from __future__ import annotations


class Names:
    """Keys of loops, stages and other things of a run, in the order of their use.

    >>> names = Names()
    >>> names.key("train"), names.key("train")
    ('train', 'train#1')
    >>> outer = names.enter("rounds-0/")
    >>> names.key("train")
    'rounds-0/train'
    """

    def __init__(self) -> None:
        self.scope = ""
        self._used: dict[str, int] = {}

    def key(self, name: str) -> str:
        """The key of this use of a name."""
        key = self.ahead(name)
        self._used[name] = self._used.get(name, 0) + 1
        return key

    def ahead(self, name: str) -> str:
        """The key that the next use of a name will have."""
        number = self._used.get(name, 0)
        return f"{self.scope}{name}" + (f"#{number}" if number else "")

    def enter(self, scope: str) -> dict[str, int]:
        """Begin a scope, in which no name has been used; returns what ``leave`` wants back."""
        outer = self._used
        self.scope, self._used = scope, {}
        return outer

    def leave(self, outer: dict[str, int]) -> None:
        """Go back to where names stand in no scope."""
        self.scope, self._used = "", outer
