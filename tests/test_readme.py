"""The README's table is the catalog's."""

from __future__ import annotations

from pathlib import Path

from counterpoint.methods.catalog import markdown


def test_table_is_the_catalog() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    table = text.split("<!-- methods -->")[1].split("<!-- /methods -->")[0].strip()
    assert table == markdown(), "run: python -m counterpoint.methods.catalog README.md"
