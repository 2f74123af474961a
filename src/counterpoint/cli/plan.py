"""The command that says what a run needs before it is started."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import typer

from counterpoint.cli import options
from counterpoint.cli.output import emit, show_table
from counterpoint.cli.shell import command, console, tell

GIB = 2**30
WHEN = {
    "forward": "learns", "backward begins": "learns", "backward ends": "learns", "step": "steps",
    "sampling": "samples", "scoring": "scores",
}  # fmt: skip
"""What a process does when it needs most, in a word."""


@command
def plan(
    key: Annotated[str, typer.Argument(help="a method on language models, see counterpoint list")],
    model: Annotated[str, typer.Option(help="model folder or bundled name; only its configuration is read")],
    gpus: Annotated[int, typer.Option(help="processes, one a GPU")] = 1,
    memory: Annotated[float, typer.Option(help="GiB of each GPU")] = 80.0,
    dtype: Annotated[str, typer.Option(help="of the weights: fp32 or bf16")] = "fp32",
    lora_rank: Annotated[int, typer.Option(help="0 trains every weight")] = 64,
    batch_size: Annotated[int, typer.Option(help="rows of the global batch")] = 32,
    length: Annotated[int, typer.Option(help="tokens of a prompt and an answer together")] = 1024,
    as_json: options.AsJson = False,
) -> None:
    """Say what a run needs of each GPU's memory, which ways fit, and the line that starts the first that does."""
    from counterpoint.errors import CounterpointError
    from counterpoint.methods.catalog import load
    from counterpoint.models.activations import activations_of
    from counterpoint.models.sizes import sizes_of
    from counterpoint.study.memory import TYPES, Demand, Setup, fits, launch, peaks

    method = load(key)
    if not hasattr(method.settings(), "lora_rank"):
        raise CounterpointError(
            f"{key} trains no language model; counterpoint plan is for those with --lora-rank"
        )
    kind: Any = dtype
    given = Setup(
        processes=gpus, dtype=kind, lora_rank=lora_rank, rows=batch_size, length=length
    )  # what is wrong in them is said first
    sizes = sizes_of(model)
    activations, demand, rows = (
        activations_of(model, TYPES[kind]),
        Demand.of(method.settings(batch_size=batch_size)),
        [],
    )
    if activations is None:
        tell(f"{model} cannot be run without its weights; what it keeps of a batch is estimated")
    for setup in _ways(given, shards=method.shards):
        times = peaks(sizes, setup, demand, activations)
        when = max(times, key=lambda name: sum(times[name].values()))
        needs = times[when]
        rows.append({
            "setup": asdict(setup), "when": when, "bytes": needs, "total": sum(needs.values()), "fits": fits(needs, memory * GIB),
            "launch": launch(key, model, setup),
        })  # fmt: skip
    if as_json:
        emit(
            {
                "key": key,
                "model": model,
                "weights": sizes.total,
                "copies": demand.copies,
                "sequences": demand.sequences,
                "staged": demand.staged,
                "activations": None if activations is None else asdict(activations),
                "ways": rows,
            }
        )
        return
    _table(
        rows,
        f"GiB of each GPU, of {memory:g}"
        + (f"; a row of {key} is {demand.sequences:g} sequences" if demand.sequences != 1 else ""),
    )
    first = next((row for row in rows if row["fits"]), None)
    screen = console()
    screen.print()
    if first is None:
        screen.print(
            f"none of these fits {memory:g} GiB: more GPUs{'' if method.shards else ' of more memory'}, adapters (--lora-rank 16) "
            "or shorter rows",
            soft_wrap=True,
        )
    else:
        screen.print(first["launch"], soft_wrap=True, markup=False, highlight=False)


def _ways(given: Any, shards: bool) -> list[Any]:
    """From the fastest to the leanest."""
    spread: list[Literal[False, True]] = [False, True] if shards and given.processes > 1 else [False]
    lean = [replace(given, micro=None), replace(given, micro=1), replace(given, micro=1, recompute=True)]
    return [replace(each, shard=shard) for shard in spread for each in lean]


def _table(rows: list[dict[str, Any]], title: str) -> None:
    from rich.table import Table

    names = list(dict.fromkeys(name for row in rows for name, size in row["bytes"].items() if size))
    table = Table(title=title, title_justify="left")
    table.add_column("way")
    table.add_column("when")
    for name in [*names, "in all", "fits"]:
        table.add_column(name, justify="right")
    for row in rows:
        setup = row["setup"]
        way = ["sharded" if setup["shard"] else "whole"]
        way += [f"{setup['micro']} at once"] if setup["micro"] else []
        way += ["recompute"] if setup["recompute"] else []
        figures = [f"{row['bytes'].get(name, 0.0) / GIB:.2f}" for name in names]
        table.add_row(
            ", ".join(way),
            WHEN[row["when"]],
            *figures,
            f"{row['total'] / GIB:.2f}",
            "yes" if row["fits"] else "no",
        )
    show_table(console(), table)
