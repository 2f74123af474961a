"""A person answers "which two are alike?" in the terminal; every answer is on disk before the next question.

``ask_similarities(data, Path("answers.jsonl"))`` draws three trajectories side by side and reads a key: 1, 2 or 3 names the odd
one out, u takes the last answer back, s passes, q leaves. The same command goes on where the person left.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel

from counterpoint.data.trajectories.answers import AnswersFile
from counterpoint.data.trajectories.grid_robot import OBJECTS, SIDE
from counterpoint.data.trajectories.sets import Trajectories, TrajectoryData
from counterpoint.errors import CounterpointError
from counterpoint.pairs.queries import random_groups

SHADES = " .:-=+*#%@"
LEVELS = "▁▂▃▄▅▆▇█"
HELP = "which is the odd one out? [bold]1 2 3[/], [bold]s[/] cannot say, [bold]u[/] undo, [bold]q[/] stop"


def ask_similarities(
    data: TrajectoryData,
    out: Path,
    *,
    count: int = 100,
    held_out: float = 0.2,
    seed: int = 0,
    console: Console | None = None,
    read: Callable[[], str] | None = None,
) -> int:
    """Ask until ``count`` answers stand in ``out``; return how many do.

    Args:
        out: a JSONL file of anchor, positive, negative (ids): what the task reads as ``answers``.
        held_out: share of the queries drawn from the validation and test splits, half each, to measure by.
        console, read: replace the terminal (for other front ends and for tests).

    Raises:
        CounterpointError: nothing to ask, or a share that is none.
    """
    if count < 1 or not 0 <= held_out < 1:
        raise CounterpointError(
            f"count={count}, held_out={held_out}: expected count of at least 1 and 0 <= held_out < 1"
        )
    screen = console or Console()
    ask = read or (lambda: screen.input("> "))
    file = AnswersFile(out)
    scale = _Scale(data)
    done = file.queries()
    number = 0
    while len(file.rows) < count:
        part, triple = _query(data, held_out, seed, number)
        number += 1
        names = [part.ids[row] for row in triple]
        if frozenset(names) in done:
            continue
        screen.print(f"\n[bold]{len(file.rows) + 1}[/] of {count}")
        cards = [Panel(scale.draw(part.inputs[row]), title=str(k + 1)) for k, row in enumerate(triple)]
        screen.print(Columns(cards))
        screen.print(HELP)
        reply = _reply(ask, screen)
        while reply == "u":
            screen.print("took the last answer back" if file.undo() else "there is no answer to take back")
            reply = _reply(ask, screen)
        if reply == "q":
            break
        done.add(frozenset(names))
        if reply != "s":
            odd = int(reply) - 1
            anchor, positive = (name for k, name in enumerate(names) if k != odd)
            file.add(anchor, positive, names[odd])
    screen.print(f"{len(file.rows)} answers in {out}")
    return len(file.rows)


def _reply(ask: Callable[[], str], screen: Console) -> str:
    while True:
        try:
            reply = ask().strip().lower()
        except (EOFError, KeyboardInterrupt):
            return "q"
        if reply in {"1", "2", "3", "s", "u", "q"}:
            return reply
        screen.print(HELP)


def _query(data: TrajectoryData, held_out: float, seed: int, number: int) -> tuple[Trajectories, list[int]]:
    """The query of a number: a function of the seed, so that a session can be left and taken up."""
    draws = torch.Generator().manual_seed(seed * 1_000_003 + number)
    draw = float(torch.rand(1, generator=draws))
    split = "train" if draw >= held_out else ("test" if draw < held_out / 2 else "validation")
    part = data.splits()[split]
    if len(part) < 3:
        part = data.train
    return part, random_groups(len(part), 1, 3, draws)[0].tolist()


class _Scale:
    """Draws trajectories of one data set with common limits."""

    def __init__(self, data: TrajectoryData) -> None:
        self.layout, self.shape, self.columns = data.layout, data.shape, data.columns
        self.shown = data.shown or tuple(range(data.shape[1] if data.shape else 0))
        if self.shape:
            states = data.train.inputs[:, : self.shape[0] * self.shape[1]].unflatten(1, self.shape)
            self.low, self.high = states.amin((0, 1)), states.amax((0, 1))

    def draw(self, inputs: torch.Tensor) -> str:
        """A drawing of one flattened trajectory."""
        if self.layout == "digit":
            rows = (inputs.view(8, 8).clamp(0, 1) * (len(SHADES) - 1)).round().long().tolist()
            return "\n".join("".join(SHADES[v] * 2 for v in row) for row in rows)
        if self.layout == "grid":
            return _grid(inputs)
        if self.shape is None:
            return " ".join(f"{v:.2g}" for v in inputs.tolist())
        states = inputs[: self.shape[0] * self.shape[1]].view(self.shape)
        share = (states - self.low) / (self.high - self.low).clamp(min=1e-9)
        lines = []
        for k in self.shown[:12]:
            name = self.columns[k] if self.columns else f"{k + 1}"
            levels = (share[:, k].clamp(0, 1) * (len(LEVELS) - 1)).round().long().tolist()
            lines.append(f"{name:>10} " + "".join(LEVELS[v] for v in levels))
        if len(self.shown) > 12:
            lines.append(f"and {len(self.shown) - 12} more")
        return "\n".join(lines)


def _grid(inputs: torch.Tensor) -> str:
    marks = {(int(x), int(y)): name[0].upper() for name, (x, y) in OBJECTS.items()}
    walk = {(int(x), int(y)) for x, y in inputs[: 2 * (2 * SIDE - 1)].view(-1, 2).tolist()}
    lines = []
    for y in reversed(range(SIDE)):
        cells = []
        for x in range(SIDE):
            mark = marks.get((x, y), "")
            cells.append(
                (f"({mark})" if (x, y) in walk else f" {mark} ")
                if mark
                else (" ● " if (x, y) in walk else " · ")
            )
        lines.append("".join(cells))
    angle = float(inputs[2 * (2 * SIDE - 1)]) * 90
    return "\n".join([*lines, f"hand tilted {angle:+.0f} degrees"])
