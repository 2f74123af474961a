"""``counterpoint store-teacher``: a teacher's answers, written down once for students that are trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from counterpoint.cli import options
from counterpoint.cli.output import emit
from counterpoint.cli.shell import command


@command
def store_teacher(
    data: options.Data = None,
    model: options.Model = None,
    teacher: Annotated[
        str,
        typer.Option(
            help="name or folder of a model with the student's vocabulary; empty: the student, shown each reference"
        ),
    ] = "",
    out: options.Out = None,
    completions: Annotated[
        str, typer.Option(help="what is answered: references, or sampled (by the student)")
    ] = "references",
    template: Annotated[
        str | None,
        typer.Option(
            help="prompt of a teacher that is shown the reference, with {prompt} and {demonstration}",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="entries drawn a position, at most 63")] = 50,
    temperature: Annotated[float, typer.Option(help="of the distribution, and of sampling")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="longest completion that is sampled")] = 256,
    at_once: Annotated[int, typer.Option(help="rows in memory at a time")] = 16,
    seed: Annotated[int, typer.Option(help="of all that is drawn")] = 0,
    data_option: options.DataOption = None,
    as_json: options.AsJson = False,
) -> None:
    """Write down what a teacher makes of every training row, sparse and unbiased, for methods with a setting 'store'.

    The same command goes on with a store that was interrupted.
    """
    from counterpoint.pairs.demonstrations import SHOWN
    from counterpoint.tasks.store_teacher import Completions
    from counterpoint.tasks.store_teacher import store_teacher as write

    example = "counterpoint store-teacher --data DATA --model STUDENT --teacher TEACHER --out FOLDER"
    done = write(
        cast(str, options.required(data, "--data", example)),
        cast(Path, options.required(out, "--out", example)),
        model=model,
        teacher=teacher,
        completions=cast(Completions, completions),
        template=SHOWN if template is None else template,
        draws=draws,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        at_once=at_once,
        seed=seed,
        data_options=options.pairs(data_option, "--data-option"),
    )
    if as_json:
        emit(done)
        return
    typer.echo(
        f"{done['folder']}: {done['tokens']:,} tokens of {done['rows']:,} rows, {done['bytes_per_token']:.1f} bytes a token, "
        f"answers of {done['teacher']}"
    )
