"""Whose a default is: the table names settings that there are, and ``show`` says it."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase

import pytest
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.methods import ours
from counterpoint.methods.catalog import load, rows
from counterpoint.methods.groups import settings_of

READY = [key for key, row in rows().items() if row.ready]


@pytest.mark.parametrize("key", [key for key in ours.table() if key != ours.EVERY])
def test_every_name_is_a_setting_of_its_method_whose_default_is_not_the_papers(key: str) -> None:
    settings = settings_of(load(key))
    for pattern, paper in ours.table()[key].items():
        matching = [each for each in settings.values() if fnmatchcase(each.name, pattern)]
        assert matching, f"{key} has no setting {pattern}"
        assert all(not paper or str(each.default) != paper for each in matching), pattern


def test_every_shared_pattern_is_of_some_method() -> None:
    names = {name for key in READY for name in settings_of(load(key))}
    for pattern in ours.table()[ours.EVERY]:
        assert any(fnmatchcase(name, pattern) for name in names), pattern


def test_show_says_whose_each_default_is() -> None:
    shown = json.loads(CliRunner().invoke(app, ["show", "clip", "--json"]).stdout)
    whose = {each["name"]: (each["default"], each["origin"]) for each in shown["settings"]}
    assert whose["mask_repeats"] == (True, "ours; paper: False")
    assert whose["batch_size"] == (256, "ours; paper: 32768")
    assert whose["temperature"] == (0.07, "paper")
    text = CliRunner().invoke(app, ["show", "clip"], env={"COLUMNS": "200"}).stdout
    assert "from" in text
    assert "ours; paper: False" in text
