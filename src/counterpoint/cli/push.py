"""``counterpoint push``: a trained model on a model hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli.output import emit
from counterpoint.cli.shell import command, tell


@command
def push(
    model: Annotated[str, typer.Argument(help="model folder, or the --out folder of a run")],
    name: Annotated[str, typer.Argument(help="OWNER/NAME on the hub")],
    private: Annotated[
        bool, typer.Option("--private", help="where it does not exist yet, create it private")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(help="write there what would be uploaded, and upload nothing", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print what was done as JSON")] = False,
) -> None:
    """Upload a trained model, with its card, to the Hugging Face hub or the one that HF_ENDPOINT names.

    The card calls the model by its new name; folders of this machine are left out of it. Files that are no part of an ordinary model
    folder are refused. Who you are is what hf auth login says.
    """
    from counterpoint import api

    done = api.push(model, name, private=private, folder=folder)
    for note in done.notes:
        tell(note)
    if as_json:
        emit(asdict(done))
        return
    size = sum(done.files.values())
    typer.echo(
        f"{done.url}  ({len(done.files)} files, {size / 1e6:,.1f} MB{'' if folder is None else ', nothing uploaded'})"
    )
