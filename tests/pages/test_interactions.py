"""The Python snippets and the commands of the graph recommenders' pages run as printed (on made-up ratings, fewer epochs)."""

from __future__ import annotations

from pathlib import Path

import pytest

from interaction_clusters import write_clusters
from pages_harness import check_settings, run_commands, run_snippet

KEYS = ["xsimgcl", "simgcl", "sgl", "lightgcn"]
SHORTER = {"epochs=20": "epochs=2", "--epochs 20": "--epochs 2"}


@pytest.fixture
def _ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clusters(tmp_path / "ratings.tsv", "user\titem\trating\ttime", users=60)
    path.write_text(path.read_text().replace("u7\t", "196\t"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_ratings")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, SHORTER)


@pytest.mark.usefixtures("_ratings")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    run_commands(key, SHORTER)


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)
