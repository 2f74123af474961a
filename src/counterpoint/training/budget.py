"""What a run may spend. Several limits may be given; the first one reached ends the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Budget:
    """Limits on optimiser steps, examples seen, tokens counted, or seconds of wall time (all sessions together).

    >>> Budget(steps=100).given, Budget().given
    (True, False)
    """

    steps: int | None = None
    examples: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, limit in asdict(self).items():
            if limit is not None and not limit > 0:
                raise CounterpointError(f"budget {name}={limit}: give a number above 0, or leave it out")

    @property
    def given(self) -> bool:
        """Whether any limit is set."""
        return any(limit is not None for limit in asdict(self).values())

    def limits(self) -> dict[str, float]:
        """The limits that are given, by name."""
        return {name: float(limit) for name, limit in asdict(self).items() if limit is not None}

    def share(self, spent: dict[str, float], parts: int) -> dict[str, float]:
        """The counters at which the next of ``parts`` equal shares of what is left is used up."""
        return {
            name: spent[name] + max(limit - spent[name], 0) / parts for name, limit in self.limits().items()
        }
