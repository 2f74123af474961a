"""``counterpoint watch``: the curves of a run while it goes on, in the terminal and as a page."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterpoint.cli import options
from counterpoint.cli.output import emit
from counterpoint.cli.shell import command, console
from counterpoint.errors import CounterpointError

if TYPE_CHECKING:
    from rich.console import Group

    from counterpoint.study.during.watched import Watched

NARROW = 24
"""Columns of a curve on the narrowest terminal."""


@command
def watch(
    out: Annotated[Path, typer.Argument(help="folder of a run or a study, going on or finished")],
    every: Annotated[float, typer.Option(help="seconds between two looks")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="look once and stop")] = False,
    page: Annotated[
        Path | None,
        typer.Option(help="write a page with the curves, too, anew at every look", show_default=False),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Follow a run: steps, pace, losses and measurements so far, until it is finished or Ctrl-C. The run does not notice."""
    from counterpoint.study.during.watched import watch as look

    if every <= 0:
        raise CounterpointError(f"--every {every}: expected seconds above 0")
    if page is not None and page.suffix != ".html":
        raise CounterpointError(f"--page {page}: expected the name of an .html file")
    runs = look(out)
    if as_json or once or not sys.stdout.isatty():
        _write(runs, page, every)
        if as_json:
            emit([run.as_dict() for run in runs])
            return
        console().print(_shown(runs, console().width))
        return
    from rich.live import Live

    screen = console()
    with Live(console=screen, auto_refresh=False) as live:
        while True:
            _write(runs, page, every)
            live.update(_shown(runs, screen.width), refresh=True)
            if all(run.finished for run in runs):
                return
            time.sleep(every)
            runs = look(out) if len(runs) != 1 or runs[0].folder != out else runs
            for run in runs:
                run.read()


def _write(runs: list[Watched], page: Path | None, every: float) -> None:
    if page is not None:
        from counterpoint.study.report.watch import write_page

        write_page(runs, page, every)


def _shown(runs: list[Watched], width: int) -> Group:
    """A few lines a run: where it is, its loss, its measurements."""
    from rich.console import Group
    from rich.text import Text

    from counterpoint.study.during.watched import lasting, sparkline

    lines = []
    curve = max(NARROW, min(width - 36, 80))
    for run in runs:
        limit = run.budget.get("steps")
        state = (
            "finished"
            if run.finished
            else f"last step {lasting(run.age)} ago"
            if run.age is not None
            else "no step yet"
        )
        done = f"{run.step:,}" + (f" of {limit:,.0f}" if limit else "") + " steps"
        pace = f", {run.pace:.3g} a second" if run.pace and not run.finished else ""
        left = f", {lasting(run.left)} left" if run.left else ""
        lines.append(Text.assemble((run.key, "bold"), f"  {run.folder}"))
        lines.append(Text(f"  {done}{pace}{left}; {state}", style="dim"))
        if run.losses:
            lines.append(Text(f"  {'loss':<16.16} {sparkline(run.losses, curve)} {run.losses[-1]:.4g}"))
        for name in dict.fromkeys(name for figures in run.evaluations.values() for name in figures):
            values = [figures[name] for figures in run.evaluations.values() if name in figures]
            lines.append(Text(f"  {name:<16.16} {sparkline(values, curve)} {values[-1]:.4g}", style="green"))
    return Group(*lines) if lines else Group(Text("no run has begun yet"))
