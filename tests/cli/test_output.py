"""Settings in plain words, tables as JSON, and figures that stay whole on a narrow terminal."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from counterpoint import api
from counterpoint.cli.output import described, hanging, in_words, show_table
from counterpoint.methods.catalog import load, rows
from counterpoint.methods.groups import settings_of

WITHOUT_WORDS = {
    "ridge", "people", "queries", "end_to_end", "bonus", "rounds", "latent", "contrast.num_negatives", "calibration.mix",
}  # fmt: skip
"""Settings whose docstrings do not say what they do yet; none may be added."""
READY = [key for key, row in rows().items() if row.ready]


@pytest.mark.parametrize("key", READY)
def test_show_says_what_every_setting_does(key: str) -> None:
    cls = load(key)
    texts = described(cls)
    assert set(texts) <= set(settings_of(cls))
    assert set(settings_of(cls)) - set(texts) <= WITHOUT_WORDS
    for setting in settings_of(cls).values():
        words = in_words(setting.hint)
        assert not set("[|]") & set(words), words


def test_settings_with_a_docstring_of_their_group() -> None:
    texts = described(load("unisd"))
    assert texts["mode"].startswith("which mechanisms act")
    assert texts["ema.sync_steps"].startswith("optimiser steps")


def table(value: str) -> Table:
    made = Table(box=None, title="title")
    made.add_column("name")
    for column in "abcdef":
        made.add_column(column, justify="right")
    made.add_row("row", *[value] * 6)
    return made


@pytest.mark.parametrize("width", [40, 60, 200])
def test_figures_are_whole_at_any_width(width: int) -> None:
    screen = Console(file=io.StringIO(), width=width)
    show_table(screen, table("0.123 [0.120, 0.126]"))
    printed = screen.file.getvalue()  # type: ignore[attr-defined]
    assert printed.count("0.123 [0.120, 0.126]") == 6
    assert "…" not in printed
    assert ("\n  a  " in printed) == (width < 200)


def test_tables_are_also_json(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    listed = json.loads(cli("list", "--json").output)
    assert {row["key"] for row in listed} >= set(READY)
    shown = json.loads(cli("show", "unisd", "--json").output)
    assert shown["settings"][0]["name"] == "mode"
    out = tmp_path / "run"
    settings = {"batch_size": 16}
    result = api.run("dcl", data="digits", out=out, steps=2, settings=settings, evaluate=False, progress=False,
                     data_options={"limit": 40, "evaluation_limit": 10})  # fmt: skip
    found = json.loads(cli("resume", out, "--json").output)
    assert found["key"] == "dcl"
    assert found["spent"] == dict(result.spent)


def test_a_long_line_goes_on_further_right_and_stays_whole_where_there_is_room():
    from rich.console import Console

    for width, expected in ((30, ["  one [two] three four five", "    six seven"]), (80, None)):
        screen = Console(width=width)
        with screen.capture() as caught:
            hanging(screen, r"one \[two] three four five six seven")
        assert caught.get().splitlines() == (expected or ["  one [two] three four five six seven"])


def test_a_line_that_several_runs_say_is_printed_once_a_command(capsys):
    from counterpoint.cli.shell import _quiet

    logger = logging.getLogger("counterpoint")
    for _ in range(2):
        _quiet()
        logger.warning("no network is named")
        logger.warning("no network is named")
        logger.warning("another line")
        assert capsys.readouterr().err.splitlines() == ["no network is named", "another line"]
