"""The command line in this process, with the toy kind of data and its methods in the catalog."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

TOYS = str(Path(__file__).parents[1] / "toys")
if TOYS not in sys.path:
    sys.path.insert(0, TOYS)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    from counterpoint.methods import catalog
    from counterpoint.tasks import task

    class ToyRow(catalog.Row):
        module = "toy_methods"

    common = {"paper": "0000.00000", "year": 2026, "family": "toy", "kind": "toy"}
    rows = dict(catalog.rows()) | {
        "toy-logistic": ToyRow(key="toy-logistic", title="Logistic", line="learns", **common),
        "toy-nothing": ToyRow(key="toy-nothing", title="Nothing", line="does not", baseline=True, **common),
    }
    monkeypatch.setattr(catalog, "rows", lambda: rows)
    monkeypatch.setitem(task._modules, "toy", "toy_task")


@pytest.fixture
def cli():
    from counterpoint.cli.main import app

    def run(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return run
