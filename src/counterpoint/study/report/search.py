"""The part of a study's report that shows a search over one method's settings: what matters, what was tried, what was foretold."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from counterpoint.study.report import html
from counterpoint.study.report.plots import bars
from counterpoint.study.wording import number

SHOWN = 20
"""Configurations that the page lists."""


def section(summary: Mapping[str, Any]) -> str:
    """HTML of a search; nothing for another study."""
    record = summary.get("record")
    if record is None:
        return ""
    (arm,) = summary["arms"].values()
    return _importance(arm["tuning"].get("importance") or {}, len(record["tried"])) + _tried(record)


def _importance(shares: Mapping[str, float], trials: int) -> str:
    if not shares:
        return (
            "<h2>What matters</h2>"
            f'<p class="note">{trials} configurations are too few, or too alike in what they reached, to say which setting matters.</p>'
        )
    caption = (
        f"Share of the variance of the {trials} configurations' validation figures that each setting explains by itself and with "
        "others, by functional ANOVA of a random forest. It speaks of these ranges on these data, and not of which value is better."
    )
    return "<h2>What matters</h2>" + html.figure(
        bars(list(shares.items()), title="Importance of settings"), caption
    )


def _tried(record: Mapping[str, Any]) -> str:
    order = sorted(record["tried"], key=lambda each: -each["value"])
    names = list(dict.fromkeys(name for each in order for name in each["settings"]))
    reference = record["reference"]
    against = f"share of {record['teacher']}'s" if record["teacher"] else "share of the best"
    body = [
        [
            str(i),
            number(each["value"]),
            f"{100 * each['value'] / reference:.1f}%" if reference else "–",
            *(html.value(each["settings"].get(name)) for name in names),
        ]
        for i, each in enumerate(order[:SHOWN], start=1)
    ]
    facts = [("teacher", number(reference))] if record["teacher"] else []
    facts += [("without a teacher", number(record["bare"]))] if record["bare"] is not None else []
    more = f", the best {SHOWN} of {len(order)}" if len(order) > SHOWN else ""
    return (
        f"<h2>What was tried{more}</h2>"
        + html.facts([(f"{name}, {record['metric']} on validation", text) for name, text in facts])
        + html.table(("", f"{escape(record['metric'])} on validation", escape(against), *names), body)
    )
