"""When the next checkpoint is due: so many seconds or steps after the last, and never for more than a tenth of the time."""

from __future__ import annotations

import time


class Pace:
    """The pace of saving.

    Args:
        seconds, steps: save when either has passed since the last save; None leaves steps out.
    """

    def __init__(self, seconds: float, steps: int | None) -> None:
        self.seconds, self.steps = seconds, steps
        self._at, self._step, self._took = time.monotonic(), 0, 0.0

    def due(self, step: int) -> bool:
        """Whether to save now, after so many steps of the run."""
        # Saving may take at most a tenth of the time, however large the model.
        late = time.monotonic() - self._at >= max(self.seconds, 10 * self._took)
        return late or (self.steps is not None and step - self._step >= self.steps)

    def resumed(self, step: int) -> None:
        """Note the step of the checkpoint that was found."""
        self._step = step

    def saved(self, step: int, began: float) -> None:
        """Note a save that began at a ``time.monotonic`` and is over."""
        self._at, self._step = time.monotonic(), step
        self._took = self._at - began
