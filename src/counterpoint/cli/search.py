"""``counterpoint search``: rank the documents of a corpus on disk with a saved model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from counterpoint.cli import options
from counterpoint.cli.output import emit
from counterpoint.cli.shell import command, tell


@command
def search(
    model: Annotated[str, typer.Argument(help="folder of a retrieval model, or a sparse encoder's name")],
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="corpus.jsonl, a table, or a folder with one; not needed with a finished --index",
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="queries.jsonl, topics.json, lines id<TAB>text, or a folder with one", show_default=False
        ),
    ] = None,
    out: options.Out = None,
    index: Annotated[
        Path | None, typer.Option(help="folder of the index; default: index in --out", show_default=False)
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(
            help="judgements of BEIR or TREC, or a folder with qrels/test; for figures", show_default=False
        ),
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="names of ir-measures, between blanks")
    ] = "nDCG@3 nDCG@10 RR@10 R@10 R@100",
    k: Annotated[int, typer.Option(help="documents of a query")] = 100,
    shard: Annotated[int, typer.Option(help="documents that are encoded and stored together")] = 10_000,
    name: Annotated[str, typer.Option(help="of the run, in its last column")] = "counterpoint",
    as_json: options.AsJson = False,
) -> None:
    """Index a corpus, rank its documents for queries, and write a TREC run; the same command goes on after a stop."""
    from counterpoint.search.search import search as run_search

    example = "counterpoint search MODEL --corpus corpus.jsonl --queries queries.jsonl --out runs/search"
    done = run_search(
        model,
        cast(Path, options.required(queries, "--queries", example)),
        cast(Path, options.required(out, "--out", example)),
        corpus=corpus,
        index=index,
        judgements=qrels,
        metrics=metrics.split(),
        count=k,
        shard=shard,
        name=name,
        say=(lambda line: None) if as_json else tell,
    )
    if as_json:
        emit({**asdict(done), "run": str(done.run)})
        return
    typer.echo(f"{done.run}  ({done.queries} queries, {done.documents} documents)")
    if done.unranked:
        typer.echo(f"no document scores above 0 for {done.unranked} queries")
    for metric, value in done.figures.items():
        typer.echo(f"{metric:>10}  {value:.4f}")
