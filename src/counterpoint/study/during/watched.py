"""What a run, or each run of a study, has done so far, by its events: read again and again while it goes on. Loads no torch."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.study.store import EVENTS, RESULT, RUN, is_run, is_study, stored_recipe

RECENT = 20
"""Steps over which the pace is taken."""
KEYS = ("step", "loop", "epoch", "time", "tokens", "learning_rate", "evaluation")
"""Names in an event that are no figure of the loss."""


@dataclass
class Watched:
    """A run that is followed. ``read`` takes in what was written since.

    Attributes:
        folder: of the run. key: the method's. budget: its limits.
        steps: of each event with a loss, and ``losses``: what it was. last: the newest figures by name.
        evaluations: step -> figures of a measurement during the run.
    """

    folder: Path
    key: str
    budget: Mapping[str, float]
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)
    evaluations: dict[int, dict[str, float]] = field(default_factory=dict)
    loop: str = ""
    finished: bool = False
    _at: int = 0

    def read(self) -> None:
        """Take in new events; a file that became shorter, since the run was resumed, is read from its beginning."""
        path = self.folder / EVENTS
        self.finished = (self.folder / RESULT).exists()
        size = path.stat().st_size if path.exists() else 0
        if size < self._at:
            self._at = 0
            for each in (self.steps, self.losses, self.times, self.last, self.evaluations):
                each.clear()
        if size == self._at:
            return
        with path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):  # still being written
                    break
                self._at += len(line)
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict) or "step" not in event:
            return
        step = int(event["step"])
        if isinstance(event.get("evaluation"), dict):
            self.evaluations[step] = {
                name: float(value) for name, value in event["evaluation"].items() if value is not None
            }
        if isinstance(event.get("loss"), int | float):
            self.steps.append(step)
            self.losses.append(float(event["loss"]))
            self.times.append(float(event.get("time", 0.0)))
            self.loop = str(event.get("loop", ""))
            figures = {n: v for n, v in event.items() if isinstance(v, int | float) and n not in KEYS[:4]}
            self.last = {name: float(value) for name, value in figures.items()}

    @property
    def step(self) -> int:
        """Steps done."""
        return self.steps[-1] if self.steps else 0

    @property
    def pace(self) -> float | None:
        """Steps a second, over the last few."""
        steps, times = self.steps[-RECENT:], self.times[-RECENT:]
        if len(steps) < 2 or times[-1] <= times[0]:
            return None
        return (steps[-1] - steps[0]) / (times[-1] - times[0])

    @property
    def left(self) -> float | None:
        """Seconds until the budget of steps is spent, at the present pace."""
        limit, pace = self.budget.get("steps"), self.pace
        return None if self.finished or not limit or not pace else max(limit - self.step, 0.0) / pace

    @property
    def age(self) -> float | None:
        """Seconds since the last step."""
        return max(time.time() - self.times[-1], 0.0) if self.times else None

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "folder": str(self.folder), "method": self.key, "finished": self.finished, "step": self.step,
            "budget": dict(self.budget), "loop": self.loop, "last": dict(self.last), "steps_per_second": self.pace,
            "seconds_left": self.left, "seconds_since_last_step": self.age,
            "evaluations": [{"step": step, **figures} for step, figures in self.evaluations.items()],
        }  # fmt: skip


def watch(folder: Path) -> list[Watched]:
    """The run in a folder, or those of a study that have begun.

    Raises:
        CounterpointError: no run and no study there.
    """
    if is_run(folder):
        folders = [folder]
    elif is_study(folder):
        folders = sorted(path.parent for path in folder.glob(f"**/{RUN}"))
    else:
        raise CounterpointError(f"{folder} holds neither a run nor a study; give the --out folder of one")
    runs = []
    for each in folders:
        recipe = stored_recipe(each)
        runs.append(Watched(each, recipe.key, recipe.budget))
        runs[-1].read()
    return runs


def lasting(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> lasting(3.4), lasting(250), lasting(9000)
    ('3 s', '4 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int = 40) -> str:
    """Values as a line of blocks, means of equal parts; those that are no numbers are left out.

    >>> sparkline([0.0, 1.0, 2.0, 3.0], width=4)
    '▁▃▆█'
    """
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    if not finite:
        return ""
    width = min(width, len(finite))
    parts = [finite[len(finite) * n // width : len(finite) * (n + 1) // width] for n in range(width)]
    means = [sum(part) / len(part) for part in parts]
    low, span = min(means), max(means) - min(means)
    return "".join(BLOCKS[round((mean - low) / span * 7) if span else 3] for mean in means)
