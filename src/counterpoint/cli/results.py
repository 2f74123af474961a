"""``counterpoint report``, ``show-samples``, ``export``, ``recommend-items`` and ``export-embeddings``: what to do with what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli import options
from counterpoint.cli.output import emit
from counterpoint.cli.shell import command, console
from counterpoint.errors import CounterpointError


@command
def report(
    out: Annotated[list[Path], typer.Argument(metavar="OUT...", help="folders of runs and studies")],
    to: Annotated[
        Path | None,
        typer.Option(help="the page; default: report.html in the first folder", show_default=False),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Draw one self-contained HTML page: figures with every seed, differences, curves, cost, settings."""
    from counterpoint import api

    page = api.report(*out, to=to)
    if as_json:
        emit({"page": str(page)})
        return
    typer.echo(page)


@command
def show_samples(
    out: Annotated[Path, typer.Argument(help="folder of a run")],
    last: Annotated[int, typer.Option(help="prompts to show, the last ones; 0 shows all")] = 5,
    step: Annotated[int | None, typer.Option(help="only those of this step", show_default=False)] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what a run sampled: prompts, answers, rewards and what judges wrote, side by side."""
    from counterpoint.cli.sample_tables import show
    from counterpoint.study.samples import requests_of, samples_of

    if last < 0:
        raise CounterpointError(f"--last {last}: expected 0 (all) or how many prompts to show, e.g. --last 5")
    rows, requests = samples_of(out, step), requests_of(out)
    rows = rows[-last:] if last else rows
    if as_json:
        emit({"samples": rows, "requests": requests})
        return
    show(console(), rows, requests)


@command
def export(
    out: Annotated[Path, typer.Argument(help="folder of a run or a study")],
    to: Annotated[Path | None, typer.Option(help="new folder for the model", show_default=False)] = None,
    arm: Annotated[
        str | None, typer.Option(help="of a study: which arm; default: the best", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="of a study: which seed")] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Copy the model out: an ordinary folder with safetensors and a model card."""
    from counterpoint.study.export import export_model

    target = options.required(to, "--to", f"counterpoint export {out} --to my-model")
    source = export_model(out, target, arm=arm, seed=seed)
    if as_json:
        emit({"model": str(target), "from": str(source)})
        return
    typer.echo(f"{target}  (from {source})")


@command
def recommend_items(
    model: Annotated[
        Path | None, typer.Option(help="folder of a recommender, or of its run", show_default=False)
    ] = None,
    user: Annotated[str | None, typer.Option(help="id of a user, as in the data", show_default=False)] = None,
    k: Annotated[int, typer.Option(help="how many items")] = 10,
    as_json: options.AsJson = False,
) -> None:
    """Recommend items that a user of the training data has not met yet."""
    from counterpoint.models.interactions.recommender import recommend_items as top
    from counterpoint.prediction.predict import within

    example = "counterpoint recommend-items --model OUT/model --user 42 --k 10"
    folder, who = options.required(model, "--model", example), options.required(user, "--user", example)
    ranked = top(within(folder), who, k)
    if as_json:
        emit([{"item": item, "score": score} for item, score in ranked])
        return
    screen = console()
    for rank, (item, score) in enumerate(ranked, start=1):
        screen.print(f"{rank:3d}  {item}  [dim]{score:.4f}[/]")


@command
def export_embeddings(
    model: Annotated[
        Path | None, typer.Option(help="folder of a recommender, or of its run", show_default=False)
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="new folder for .npy and .txt files, or a .safetensors file", show_default=False),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Write users' and items' vectors for an inner-product index such as FAISS."""
    from counterpoint.models.interactions.export import export_embeddings as write
    from counterpoint.prediction.predict import within

    example = "counterpoint export-embeddings --model OUT/model --to index"
    folder, target = options.required(model, "--model", example), options.required(to, "--to", example)
    files = write(within(folder), target)
    if as_json:
        emit({"files": [str(file) for file in files]})
        return
    for file in files:
        typer.echo(file)
