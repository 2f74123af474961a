"""``counterpoint tune``: a search over one method's settings, what matters in it, and what earlier searches foretell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterpoint.cli import options
from counterpoint.cli.output import emit, show_table
from counterpoint.cli.shell import command, console, progress

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 8
"""Configurations that the terminal lists."""


@command
@options.spread(without=("seed",))  # a study has seeds
def tune(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="the method, see counterpoint list")],
    data: options.Data = None,
    model: options.Model = None,
    out: options.Out = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=V1,V2", help="a setting and its choices, in place of the method's own ranges"
        ),
    ] = None,
    trials: Annotated[int, typer.Option(help="configurations to try, on validation")] = 30,
    seeds: Annotated[int, typer.Option(help="runs of the best one, on test")] = 3,
    records: Annotated[
        list[Path] | None,
        typer.Option(help="folder of an earlier search, on other data; may be repeated", show_default=False),
    ] = None,
    top: Annotated[int, typer.Option(help="with records: how many recommended configurations to try")] = 5,
    given: options.Given = options.NONE,
    settings: options.Set = None,
    jobs: options.Jobs = 1,
    executor: options.Executor = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = 0.0,
    as_json: options.AsJson = False,
) -> None:
    """Search one method's settings with Optuna; with --records try only what earlier searches recommend. Resumes, too."""
    from counterpoint import api
    from counterpoint.cli.tables import study_table
    from counterpoint.methods.catalog import load

    cls = load(key)
    chosen, varied = options.of_context(context, cls, settings, vary)
    example = f"counterpoint tune {key} --data DATA --out OUT --steps 300 --trials 30"
    options.required(data, "--data", example)
    folder = options.required(out, "--out", example)
    with progress() as shown:
        summary = api.tune(
            key,
            settings=chosen,
            out=folder,
            vary=varied or None,
            trials=trials,
            seeds=seeds,
            records=records or (),
            top=top,
            jobs=options.placed(jobs, executor, address, gpus_per_run),
            progress=shown,
            data=data,
            model=model,
            **given,
        )
    if as_json:
        emit(summary)
        return
    screen = console()
    _search(screen, summary)
    study_table(screen, summary, folder)


def _search(screen: Console, summary: Mapping[str, Any]) -> None:
    """The best configurations, what matters, and what records had foretold."""
    from rich.table import Table

    from counterpoint.study.wording import number

    record, (arm,) = summary["record"], summary["arms"].values()
    names = list(arm["tuning"]["ranges"])
    foretold = summary.get("foretold", [])
    table = Table(box=None, pad_edge=False)
    for column in (f"{record['metric']} on validation", *names, *(("foretold",) if foretold else ())):
        table.add_column(column, header_style="dim", justify="left")
    for each in sorted(record["tried"], key=lambda tried: -tried["value"])[:SHOWN]:
        settings = each["settings"]
        expected = [f["ratio"] * record["reference"] for f in foretold if dict(f["settings"]) == settings]
        table.add_row(
            number(each["value"]),
            *(str(settings[name]) for name in names),
            *(number(v) for v in expected[:1]),
        )
    show_table(screen, table)
    for name, share in (arm["tuning"].get("importance") or {}).items():
        screen.print(f"· {name} explains {100 * share:.0f}% of the variance", markup=False)
    rows = summary.get("left_out", [])
    if rows:
        gained = sum(row["recommended"] - row["chance"] for row in rows) / len(rows)
        word = "better than" if gained > 0 else "no better than"
        screen.print(
            f"· over {len(rows)} data sets left out in turn, recommended configurations were {word} random ones: "
            f"{gained:+.3f} of the teacher's figure on average",
            markup=False,
        )
    elif foretold:
        screen.print(
            "· records of one data set cannot say how far recommendations carry to others", markup=False
        )
    screen.print()
