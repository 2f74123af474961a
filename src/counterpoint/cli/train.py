"""``counterpoint run`` and ``resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from counterpoint.cli import options
from counterpoint.cli.output import emit, result_json
from counterpoint.cli.shell import command, console, progress, speaks


@command
@options.spread()
def run(
    context: typer.Context,
    key: Annotated[
        str, typer.Argument(help="the method, see counterpoint list", autocompletion=options.complete_key)
    ],
    model: options.Model = None,
    data: options.Data = None,
    out: options.Out = None,
    given: options.Given = options.NONE,
    evaluate: Annotated[bool, typer.Option(help="measure the model on test, before and after")] = True,
    settings: options.Set = None,
    config: options.Config = None,
    tracker: Annotated[
        list[str] | None, typer.Option(help="tensorboard, wandb, ...; may be repeated")
    ] = None,
    checkpoint_seconds: Annotated[float, typer.Option(help="save at least this often")] = 120.0,
    keep_checkpoints: Annotated[
        bool,
        typer.Option(
            "--keep-checkpoints", help="keep them after the end, so that more steps can be given later"
        ),
    ] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="upload the model at the end, as counterpoint push does",
            show_default=False,
        ),
    ] = None,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="print what differs from the defaults, and stop")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Train a model on data with one method. The same command resumes.

    Every setting of the method is an option too: counterpoint run dcl --temperature 0.2 ...; counterpoint show KEY lists
    them. Options given here win over those in --config.
    """
    from counterpoint import api
    from counterpoint.methods.catalog import load

    file = options.read_config(config)
    cls = load(key)
    if file.get("method", key) != key:
        from counterpoint.errors import CounterpointError

        raise CounterpointError(f"{config} is for '{file['method']}', not for '{key}'")
    own_options = [parameter.name for parameter in context.command.params if parameter.name]
    texts = {**options.flags(context.args), **options.pairs(settings, "--set")}
    chosen = {**file.get("settings", {}), **options.typed(cls, texts, own_options)}
    method = api.build(key, chosen)
    if show_settings:
        _show_settings(method, as_json)
        return
    example = f"counterpoint run {key} --data DATA --out OUT --steps 300"
    with progress() as shown:
        result = api.run(
            method,
            data=options.required(data or file.get("data"), "--data", example),
            out=options.required(out or file.get("out"), "--out", example),
            model=model or file.get("model"),
            **given.over(file),
            evaluate=evaluate,
            progress=shown,
            trackers=tuple(tracker or ()),
            checkpoint_seconds=checkpoint_seconds,
            keep_checkpoints=keep_checkpoints,
            push_to_hub=push_to_hub,
        )
    if as_json and speaks():
        emit(result_json(result))
    elif speaks():
        from counterpoint.cli.tables import result_table

        result_table(console(), result)


@command
def resume(
    out: Annotated[Path, typer.Argument(help="folder of a run or a study")],
    steps: Annotated[
        int | None,
        typer.Option(
            help="more optimiser steps than before, for a run with --keep-checkpoints", show_default=False
        ),
    ] = None,
    jobs: options.Jobs = 1,
    executor: options.Executor = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = 0.0,
    as_json: options.AsJson = False,
) -> None:
    """Go on with a run or a study from its folder alone; a finished one is shown, or given more steps."""
    from counterpoint import api
    from counterpoint.cli.tables import result_table, study_table
    from counterpoint.study.plan import stored_plan
    from counterpoint.study.store import Result

    with progress() as shown:
        result = api.resume(
            out, steps=steps, jobs=options.placed(jobs, executor, address, gpus_per_run), progress=shown
        )
    if not speaks():
        return
    if as_json:
        emit(result_json(result) if isinstance(result, Result) else result)
    elif isinstance(result, Result):
        result_table(console(), result)
    else:
        study_table(console(), result, out, stored_plan(out).metrics)


def _show_settings(method: Any, as_json: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from counterpoint.cli.output import show_table
    from counterpoint.methods.groups import flat

    changed, every = method.changed(), flat(method)
    if as_json:
        emit(
            {
                name: {"default": changed.get(name, (here, here))[0], "here": here}
                for name, here in every.items()
            }
        )
        return
    table = Table(box=None, pad_edge=False)
    for column in ("setting", "default", "here"):
        table.add_column(column, header_style="dim")
    for name, here in every.items():
        default = changed.get(name, (here, here))[0]
        table.add_row(
            name, escape(str(default)), escape(str(here)), style="bold yellow" if name in changed else ""
        )
    screen = console()
    show_table(screen, table)
    screen.print(
        f"{len(changed)} of {len(every)} settings differ from the defaults"
        if changed
        else "all at their defaults"
    )
