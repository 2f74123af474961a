"""``counterpoint new``: a commented configuration file for a method and a person's data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli import options
from counterpoint.cli.output import emit
from counterpoint.cli.shell import command
from counterpoint.errors import CounterpointError


@command
def new(
    key: Annotated[
        str, typer.Argument(help="the method, see counterpoint list", autocompletion=options.complete_key)
    ],
    data: options.Data = None,
    model: options.Model = None,
    out: options.Out = None,
    to: Annotated[
        Path | None, typer.Option(help="the file, .toml; default: KEY.toml", show_default=False)
    ] = None,
    kind: options.Kind = None,
    data_option: options.DataOption = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a configuration file that counterpoint run --config takes: every option and setting, what it does, its default.

    The data are loaded, and what was understood stands in the file. A file that is there is never replaced.
    """
    from counterpoint.cli import configuration
    from counterpoint.cli.output import described, in_words, span
    from counterpoint.methods import catalog
    from counterpoint.methods.groups import settings_of
    from counterpoint.study.arms import build, kind_of
    from counterpoint.study.files import write_text
    from counterpoint.tasks.task import open_data, task

    given = options.required(data, "--data", f"counterpoint new {key} --data DATA")
    target = to or Path(f"{key}.toml")
    if target.suffix != ".toml":
        raise CounterpointError(f"--to {target}: expected the name of a .toml file")
    if target.exists():
        raise CounterpointError(f"{target} is there already; name another with --to, or remove it")
    cls = catalog.load(key)
    chosen = options.pairs(data_option, "--data-option")
    wanted = kind_of(build(key), kind)
    own_task = task(wanted)
    loaded = open_data(own_task, given, chosen)
    content = configuration.text(
        key,
        file=str(target),
        data=given,
        understood=loaded.describe(),
        kind=wanted,
        default_model=own_task.default_model,
        out=str(out or Path("runs") / key),
        words=described(cls),
        types={name: in_words(setting.hint) for name, setting in settings_of(cls).items()},
        spans={name: span(searched) for name, searched in cls.ranges(wanted).items()},
        model=model,
        chosen=chosen,
    )
    write_text(target, content)
    if as_json:
        emit({"file": str(target), "method": key, "data": given, "kind": wanted})
        return
    typer.echo(f"{target}\ncounterpoint run {key} --config {target}")
