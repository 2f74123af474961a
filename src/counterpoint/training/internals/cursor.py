"""Where a run is: its round, its loop and position, what is done, what is spent. Plain data, saved with every checkpoint."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.training.budget import Budget


def _nothing_spent() -> dict[str, float]:
    return {"steps": 0.0, "examples": 0.0, "tokens": 0.0, "seconds": 0.0}


@dataclass
class Loop:
    """A loop at hand.

    Attributes:
        position: batches done. total: batches to do, or None when only ``limits`` end it.
        start: what was spent when it began. limits: counters at which the budget's share is used up.
    """

    key: str
    position: int
    total: int | None
    start: dict[str, float]
    limits: dict[str, float]

    def finished(self, spent: dict[str, float]) -> bool:
        """Whether its batches are done or its share of the budget is spent."""
        if self.total is not None and self.position >= self.total:
            return True
        # Half a unit of slack: shares among rounds need not be whole numbers of steps.
        return any(spent[name] >= limit - 0.5 * (name != "seconds") for name, limit in self.limits.items())

    def fraction(self, spent: dict[str, float]) -> tuple[float, float]:
        """(done, of how much), in the unit that will end the loop first."""
        parts = [] if self.total is None else [(float(self.position), float(self.total))]
        parts += [(spent[n] - self.start[n], limit - self.start[n]) for n, limit in self.limits.items()]
        done, whole = max(parts, key=lambda part: part[0] / part[1] if part[1] else 1.0)
        return float(done), float(whole or 1)

    def progress(self, spent: dict[str, float]) -> float:
        """Share of the loop that is done, in [0, 1]."""
        done, whole = self.fraction(spent)
        return min(done / whole, 1.0)


@dataclass
class Cursor:
    """The position of a run.

    Attributes:
        ended: loops that are done, in their order. last: the last of them as it ended.
        foreseen: whether work was done beforehand for some rows only, those that the budget would use.
        budget: limits that the loops were begun under; None in the checkpoints of former versions.
        grown: whether it was given a larger budget, and nothing was done under it yet.
    """

    rounds: dict[str, int] = field(default_factory=dict)
    rounds_left: int = 1
    done: list[str] = field(default_factory=list)
    loop: Loop | None = None
    spent: dict[str, float] = field(default_factory=_nothing_spent)
    ended: list[str] = field(default_factory=list)
    last: Loop | None = None
    foreseen: bool = False
    budget: dict[str, float] | None = None
    grown: bool = False

    def enter(self, key: str, steps_per_epoch: int, epochs: float | None, budget: Budget) -> Loop | None:
        """The loop of this key, begun or gone on with; None when it is done.

        Raises:
            CounterpointError: neither a budget nor a number of epochs ends it.
        """
        if key in self.done:
            return None
        if self.loop is None or self.loop.key != key:
            self.loop = self.begin(key, steps_per_epoch, epochs, budget)
        return self.loop

    def begin(self, key: str, steps_per_epoch: int, epochs: float | None, budget: Budget) -> Loop:
        """A loop at its start, with what may be spent in it.

        Raises:
            CounterpointError: neither a budget nor a number of epochs ends it, or it is no number of passes.
        """
        total = None
        if not budget.given:
            if epochs is None:
                raise CounterpointError(
                    f"loop '{key}' has no end: give the run a budget (steps=..., seconds=...) or epochs"
                )
            if not 0 < epochs < math.inf:
                raise CounterpointError(
                    f"loop '{key}': epochs={epochs}; expected a number above 0, such as 1"
                )
            total = max(round(steps_per_epoch * epochs), 1)
        return Loop(key, 0, total, dict(self.spent), budget.share(self.spent, self.rounds_left))

    def advance(self, loop: Loop, size: int) -> None:
        """Count a step of so many examples."""
        loop.position += 1
        self.spent["steps"] += 1
        self.spent["examples"] += size

    def finish(self, loop: Loop) -> None:
        """Mark a loop as done."""
        if loop.key not in self.done:
            self.done.append(loop.key)
            self.ended.append(loop.key)
            self.last = loop
        if self.loop is loop:
            self.loop = None

    def closed(self) -> str | None:
        """Why a run that is done cannot go on under a larger budget; None where it can."""
        if self.rounds:
            return "its rounds divide the budget among them"
        if self.last is None or len(self.ended) != 1:
            return f"it trains in {len(self.ended)} loops, of which only the last would go on"
        if self.done[-1:] != [self.last.key]:
            return (
                f"it did more after its loop ({', '.join(self.done[self.done.index(self.last.key) + 1 :])})"
            )
        if self.foreseen:
            return (
                "what it computed beforehand, from the weights before training, is about the rows of its own budget alone "
                "(a budget of a whole epoch has them all)"
            )
        return None

    def grow(self, budget: Budget) -> None:
        """Go on with the loop at hand, or the last one, under another budget than it was begun under."""
        limits = budget.limits()
        if self.budget is None or limits == self.budget:
            return
        loop = self.loop or self.last
        if loop is not None:
            self.done = [key for key in self.done if key != loop.key]
            self.ended = [key for key in self.ended if key != loop.key]
            self.loop = Loop(loop.key, loop.position, None, loop.start, budget.share(loop.start, 1))
            self.grown = True
        self.budget = limits

    def forget(self, scope: str) -> None:
        """Drop the names of a finished round."""
        self.done = [key for key in self.done if not key.startswith(scope)]

    def state_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From plain data."""
        for name, value in state.items():
            setattr(self, name, Loop(**value) if name in ("loop", "last") and value is not None else value)
