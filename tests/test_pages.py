"""Pages and evidence agree; evidence is as a reproduction wrote it; every ready method has its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.methods.catalog import rows
from counterpoint.study.pages import SUMMARY, fronts, refresh, refresh_summary
from counterpoint.study.reproduce import check_evidence

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted((DOCS / "methods").glob("*.md"))
WITH_EVIDENCE = [*PAGES, *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("page", WITH_EVIDENCE, ids=lambda p: p.stem)
def test_page_shows_its_evidence(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert refresh(text, DOCS / "evidence") == text, "run: python -m counterpoint.study.pages docs"


def test_one_page_shows_all_evidence() -> None:
    holding = {
        front: pages for front, pages in fronts(DOCS).items() if SUMMARY in front.read_text(encoding="utf-8")
    }
    assert holding, "the table of all evidence stands nowhere"
    for front, pages in holding.items():
        text = front.read_text(encoding="utf-8")
        assert refresh_summary(text, DOCS / "evidence", pages) == text, (
            "run: python -m counterpoint.study.pages docs"
        )


@pytest.mark.parametrize("path", sorted((DOCS / "evidence").glob("*.json")), ids=lambda p: p.stem)
def test_evidence_is_as_written(path: Path) -> None:
    assert check_evidence(path)["key"] == path.stem


def test_every_ready_method_has_a_page() -> None:
    ready = {key for key, row in rows().items() if row.ready}
    assert ready <= {page.stem for page in PAGES}, sorted(ready - {page.stem for page in PAGES})
