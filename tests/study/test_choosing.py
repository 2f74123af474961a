"""docs/choose.md shows the rules of ``recommend``, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.methods.catalog import rows
from counterpoint.study.recommend import RULES
from counterpoint.study.report.choosing import conditions, refreshed
from counterpoint.tasks.facts import Facts

PAGE = Path(__file__).parents[2] / "docs" / "choose.md"


def test_the_page_is_drawn_from_the_rules() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert refreshed(text) == text, "run: python -m counterpoint.study.report.choosing docs/choose.md"
    assert all(rule.why in text and f"`{rule.key}`" in text for rule in RULES)


def test_a_link_leads_to_a_page() -> None:
    pages = {page.stem for page in (PAGE.parent / "methods").glob("*.md")}
    assert {rule.key for rule in RULES if rows()[rule.key].ready} <= pages


@pytest.mark.parametrize("rows", [10, 1_000, 30_000])
@pytest.mark.parametrize("imbalance", [1.0, 9.0])
def test_a_shown_condition_is_the_rules_own(rows: int, imbalance: float) -> None:
    facts = Facts(
        "any",
        rows,
        labelled=rows,
        classes=3,
        imbalance=imbalance,
        density=0.01 * imbalance,
        negatives=rows // 1_000,
    )
    for rule, condition in zip(RULES, conditions(), strict=True):
        shown = eval(condition or "True", {}, vars(facts))
        assert bool(shown) == bool(rule.when(facts)), (rule.key, condition)
