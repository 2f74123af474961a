"""The command line. Every command imports what it needs when it is called, so that help appears at once."""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
from pathlib import Path

import typer

from counterpoint import __version__, launched
from counterpoint.cli import (
    data,
    demo,
    listing,
    new,
    plan,
    predict,
    push,
    results,
    search,
    searches,
    serve,
    shell,
    studies,
    teachers,
    train,
    watch,
)

app = typer.Typer(
    name="counterpoint",
    help="Improve a model by contrastive learning and (self-)distillation, and measure whether it did.",
    epilog="Exit status: 0 when it is done, 2 when something is to be mended (a line says what), 130 or 143 when it was "
    "interrupted by SIGINT (Ctrl-C) or SIGTERM; the same command then goes on. Every command that prints a table prints the "
    "same as JSON with --json.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FREE = {"allow_extra_args": True, "ignore_unknown_options": True}
"""A method's settings are options that the command does not know; the method checks them."""

app.command("list", short_help="List methods, baselines and what is planned.")(listing.list_methods)
app.command("show", short_help="Show a method and its settings.")(listing.show)
app.command("recommend", short_help="Suggest methods for data.")(data.recommend)
app.command("check", cls=data.Check, short_help="Describe data and a model, and check that they fit.")(
    data.check
)
app.add_typer(data.app, name="data")
app.command("query", short_help="Ask a person which two are alike.")(data.query)
app.command("plan", short_help="Say what a run needs of memory, and how to launch it.")(plan.plan)
app.command("serve", short_help="Start a vLLM server that a run samples from.")(serve.serve)
app.command("new", short_help="Write a configuration file for a method and data.")(new.new)
app.command("run", short_help="Train a model with one method.", context_settings=FREE)(train.run)
app.command("resume", short_help="Go on with a run or a study.")(train.resume)
app.command("watch", short_help="Follow a run while it goes on.")(watch.watch)
app.command("compare", short_help="Let methods compete under one budget.")(studies.compare)
app.command("ablate", short_help="Leave out one part of a method at a time.", context_settings=FREE)(
    studies.ablate
)
app.command("tune", short_help="Search one method's settings.", context_settings=FREE)(searches.tune)
app.command("reproduce", short_help="Run a paper's effect, write the evidence.")(studies.reproduce)
app.command("predict", short_help="Predict with a trained model.")(predict.predict)
app.command("push", short_help="Upload a trained model to a hub.")(push.push)
app.command("store-teacher", short_help="Write a teacher's answers down.")(teachers.store_teacher)
app.command("report", short_help="Draw a page from runs and studies.")(results.report)
app.command("show-samples", short_help="Show what a run sampled, and its rewards.")(results.show_samples)
app.command("export", short_help="Copy a trained model out.")(results.export)
app.command("recommend-items", short_help="Recommend items to a user.")(results.recommend_items)
app.command("export-embeddings", short_help="Write vectors for a search index.")(results.export_embeddings)
app.command("search", short_help="Rank a corpus's documents for queries.")(search.search)
app.command("demo", hidden=True)(demo.demo)


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


MEET = ("run", "resume")
"""Commands in which the processes of a launch meet: one that ends before, with an error, tells the others that it will not come."""


def main() -> None:
    """Run the command line."""
    try:
        _run()
    except BaseException as error:
        status = error.code if isinstance(error, SystemExit) else None
        failed = isinstance(error, Exception) or status in (1, 2)
        if failed and sys.argv[1:2] and sys.argv[1] in MEET and launched.one_of_several():
            from counterpoint.training import meeting

            meeting.leave()
        raise


def _run() -> None:
    for name in ("stdout", "stderr"):  # closed by the shell: what is printed goes nowhere
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (for the life of the process)
    codecs.register_error("plainly", shell.show_plainly)
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character shows another
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace" if "utf" in stream.encoding.lower() else "plainly")
    try:
        # Answered before typer loads pydantic to read options, which takes longer than the list.
        if sys.argv[1:] == ["list"]:
            listing.list_methods()
        else:
            app()
    except typer.Exit as left:
        sys.exit(left.exit_code)
    except SystemExit as left:
        if not isinstance(left.__context__, BrokenPipeError):
            raise
        shell.silence()  # click ends with 1 where the reader of its help has left
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        shell.silence()
        shell.complain(f"what the command prints or writes has no room ({error.strerror})")
        sys.exit(2)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            shell.silence()
        except OSError as error:
            shell.silence()
            shell.complain(f"standard output cannot be written ({error.strerror})")
            sys.exit(2)


if __name__ == "__main__":
    main()
