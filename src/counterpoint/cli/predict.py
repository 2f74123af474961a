"""``counterpoint predict``: what a trained model says of new rows."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from counterpoint import launched
from counterpoint.cli import options
from counterpoint.cli.output import emit
from counterpoint.cli.shell import command, progress, tell


@command
def predict(
    model: Annotated[str, typer.Argument(help="model folder, or the --out folder of a run")],
    data: Annotated[
        str | None,
        typer.Option(
            help="a table (JSON lines, CSV, TSV, Parquet), a picture or recording, a folder of such files, or - for standard input",
            show_default=False,
        ),
    ] = None,
    out: Annotated[str, typer.Option(help="a .jsonl, .csv or .parquet file; - prints JSON lines")] = "-",
    column: Annotated[
        str | None,
        typer.Option(help="of the inputs, where it has none of the usual names", show_default=False),
    ] = None,
    keep: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="columns of the data to stand beside the answers, separated by commas"
        ),
    ] = "",
    kind: Annotated[
        str | None,
        typer.Option(
            help="of a folder that does not say it, such as a downloaded encoder's: text, images, audio, ...",
            show_default=False,
        ),
    ] = None,
    skip: Annotated[
        bool, typer.Option("--skip-unreadable", help="leave rows out that cannot be read, and count them")
    ] = False,
    k: Annotated[int, typer.Option(help="of a recommender: how many items")] = 10,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="of a language model: longest answer; default: 256", show_default=False)
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="of a language model: 0 takes the likeliest token")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="of sampled answers")] = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            help="of a model that makes pictures; default: the most its training drew", show_default=False
        ),
    ] = None,
    towards: Annotated[
        str,
        typer.Option(help='of a model that restyles pictures: "styled", or "plain" to take the style off'),
    ] = "styled",
    batch_size: Annotated[
        int | None, typer.Option(help="rows at once; default: the kind's usual number", show_default=False)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; default: a GPU where there is one", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print what was done as JSON")] = False,
) -> None:
    """Predict with a trained model: labels, embeddings, numbers, answers, rewards, transcripts, recommendations or pictures.

    The model's own classes, encoding and settings are used; the data need no target. Rows go through in order and in bounded memory;
    the file of answers appears when all are done, or not at all.
    """
    from counterpoint import api

    example = f"counterpoint predict {model} --data FILE --out answers.jsonl"
    given = options.required(data, "--data", example)
    launched.require_alone(f"counterpoint predict {model} --data {given} --out {out}")
    # A bar would fold what is printed on the same terminal.
    with nullcontext(False) if out == "-" and sys.stdout.isatty() else progress() as shown:
        done = api.predict(
            model,
            data=given,
            out=out,
            keep=[name.strip() for name in keep.split(",") if name.strip()],
            skip=skip,
            kind=kind,
            device=device,
            progress=shown,
            column=column,
            k=k,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            steps=steps,
            towards=towards,
            batch_size=batch_size,
        )
    for note in done.notes:
        tell(note)
    if out == "-":
        return
    if as_json:
        emit({"out": str(Path(out)), **asdict(done)})
        return
    left = f", {done.left_out} left out" if done.left_out else ""
    typer.echo(f"{out}  ({done.what} of {done.rows:,} rows{left}, {done.seconds:.1f} s)")
