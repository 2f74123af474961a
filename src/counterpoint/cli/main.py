"""The command line. Every command imports what it needs when it is called, so that help appears at once."""

from __future__ import annotations

import typer

from counterpoint import __version__
from counterpoint.cli import data, listing, results, studies, train

app = typer.Typer(
    name="counterpoint",
    help="Make a model better from contrast and from its own or a teacher's voice, and see whether it did.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("list")(listing.list_methods)
app.command("show")(listing.show)
app.command("recommend")(data.recommend)
app.command("check")(data.check)
app.add_typer(data.app, name="data")
app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(train.run)
app.command("resume")(train.resume)
app.command("compare")(studies.compare)
app.command("ablate", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    studies.ablate
)
app.command("reproduce")(studies.reproduce)
app.command("report")(results.report)
app.command("export")(results.export)
app.command("recommend-items")(results.recommend_items)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"counterpoint {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
