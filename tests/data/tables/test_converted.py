"""What is kept of large files is shown with what it is of, and goes when it is cleared, but for what is being written."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.data.tables.converted import clear, conversions, converted, digest_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def made(folder: Path, name: str, size: int) -> Path:
    source = folder / name
    if not source.exists():
        source.write_text(name)
    return converted([source], "columns", lambda inside: (inside / "data").write_bytes(b"x" * size))


def test_kept_and_cleared(cache: Path, tmp_path: Path) -> None:
    assert conversions() == []
    small, large = made(tmp_path, "a.parquet", 10), made(tmp_path, "b.parquet", 10_000)
    first, second = conversions()
    assert (first.folder, second.folder) == (large, small)
    assert first.files == (str(tmp_path / "b.parquet"),)
    assert first.what == "columns"
    assert first.size > 10_000
    with FileLock(small.with_suffix(".lock")):
        assert clear() == (1, first.size)
        assert [one.folder for one in conversions()] == [small]
    assert digest_of(made(tmp_path, "a.parquet", 10)) == digest_of(small)
    assert clear() == (1, second.size)
    assert conversions() == []


def test_the_command(cache: Path, tmp_path: Path) -> None:
    made(tmp_path, "a.parquet", 2**20)
    run = CliRunner()
    shown = run.invoke(app, ["data", "cache"], env={"COLUMNS": "400"}).output
    assert "a.parquet" in shown
    assert "1.0 MiB in" in shown
    assert "removed 1 folders, 1.0 MiB" in run.invoke(app, ["data", "cache", "--clear"]).output
    assert "nothing is kept" in run.invoke(app, ["data", "cache"]).output
