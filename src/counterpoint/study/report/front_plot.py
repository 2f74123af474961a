"""Students by cost and loss, with the front of those that nothing cheaper beats, as inline SVG at both widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from counterpoint.study.report.plots import (
    NARROW,
    WIDE,
    Series,
    _line,
    _scale,
    _short,
    _svg,
    tick_labels,
    ticks,
)
from counterpoint.study.wording import number

TABLE = "students"
"""The table of a report that is drawn so, with these columns beside "space"."""
COST, LOSS = "exact_gigaflops", "relation_loss"


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, loss) those that no point of at most their cost beats, the cheapest first.

    >>> pareto([(2.0, 1.0), (1.0, 3.0), (3.0, 2.0)])
    [(1.0, 3.0), (2.0, 1.0)]
    """
    front: list[tuple[float, float]] = []
    for cost, loss in sorted(points):
        if not front or loss < front[-1][1]:
            front.append((cost, loss))
    return front


def drawing(rows: Sequence[Mapping[str, Any]]) -> str:
    """A dot a student, coloured by its space, and the front as a line; nothing without the columns."""
    if not rows or any(name not in row for row in rows for name in ("space", COST, LOSS)):
        return ""
    return _drawn(rows, WIDE, "wide") + _drawn(rows, NARROW, "narrow")


def _drawn(rows: Sequence[Mapping[str, Any]], width: int, name: str) -> str:
    spaces = list(dict.fromkeys(str(row["space"]) for row in rows))
    series = [
        Series(space, f"var(--c{i % 8})", [(float(r[COST]), float(r[LOSS])) for r in rows if str(r["space"]) == space])
        for i, space in enumerate(spaces)
    ]  # fmt: skip
    every = [point for each in series for point in each.points]
    legend = 18 * len(series)
    left, right, top, bottom = 62, width - 16, 24 + legend, 260 + legend
    low, high = min(y for _, y in every), max(y for _, y in every)
    pad = 0.06 * ((high - low) or abs(high) or 1.0)
    most = 1.05 * max(x for x, _ in every) or 1.0
    x, y = _scale(0, most, left, right), _scale(low - pad, high + pad, bottom, top)
    parts = []
    for i, each in enumerate(series):
        label = escape(_short(each.label, 90 if name == "wide" else 40))
        parts.append(
            f'<circle cx="10" cy="{10 + 18 * i}" r="5" fill="{each.color}"/><text class="minor" x="22" y="{14 + 18 * i}">{label}</text>'
        )
    across, up = ticks(0, most, 4 if name == "narrow" else 6), ticks(low - pad, high + pad, 4)
    for mark, text in zip(up, tick_labels(up), strict=True):
        parts.append(
            f'<line class="axis" x1="{left}" x2="{right}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
            f'<text class="tick" x="{left - 7}" y="{y(mark) + 4:.1f}" text-anchor="end">{text}</text>'
        )
    for mark, text in zip(across, tick_labels(across), strict=True):
        parts.append(
            f'<text class="tick" x="{x(mark):.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'
        )
    parts.append(
        f'<text class="tick" x="{right}" y="{bottom + 36}" text-anchor="end">billion operations a text</text>'
    )
    parts.append(_line(pareto(every), x, y, high + pad, 'stroke="var(--soft)" stroke-width="1.6"'))
    for each in series:
        for cost, loss in each.points:
            tip = escape(f"{each.label}: {number(loss)} at {number(cost)}")
            parts.append(
                f'<circle cx="{x(cost):.1f}" cy="{y(loss):.1f}" r="4" fill="{each.color}" fill-opacity=".55"><title>{tip}</title></circle>'
            )
    return _svg(width, bottom + 42, "".join(parts), "Relation loss of students against their cost", name)
