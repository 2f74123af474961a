"""Pieces of HTML that report pages share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from counterpoint.study.store import events
from counterpoint.study.wording import number, signed

POINTS = 160
"""Points a learning curve is drawn with; each is the mean of its bin."""


def table(head: Sequence[str], body: Sequence[Sequence[str]], text: Sequence[int] = ()) -> str:
    """A table that scrolls sideways on a phone; cells are HTML already. ``text``: columns of words, aligned left."""
    top = "".join(f'<th{_text(i, text)} scope="col">{escape(name)}</th>' for i, name in enumerate(head))
    lines = []
    for cells in body:
        first, *rest = cells
        tail = "".join(f"<td{_text(i, text)}>{cell}</td>" for i, cell in enumerate(rest, start=1))
        lines.append(f'<tr><th scope="row">{first}</th>{tail}</tr>')
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _text(column: int, text: Sequence[int]) -> str:
    return ' class="text"' if column in text else ""


def facts(items: Sequence[tuple[str, str]]) -> str:
    """A line of labelled facts."""
    return (
        '<ul class="facts">'
        + "".join(f"<li>{escape(k)} <b>{escape(v)}</b></li>" for k, v in items if v)
        + "</ul>"
    )


def sentences(lines: Sequence[str]) -> str:
    """Lines as a list."""
    return '<ul class="plain">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def figure(svg: str, caption: str) -> str:
    """A drawing with its caption; nothing when there is no drawing."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>" if svg else ""


def coloured(value: float | None, verdict: str) -> str:
    """A difference with its sign, coloured by its verdict."""
    css = {"above": "up", "below": "down"}.get(verdict, "")
    return f'<span class="{css}">{signed(value)}</span>' if css else signed(value)


def value(given: Any) -> str:
    """A setting's value."""
    text = (
        given if isinstance(given, str) else f"{given:g}" if isinstance(given, float) else json.dumps(given)
    )
    return f"<code>{escape(text)}</code>"


def changed(settings: Mapping[str, Sequence[Any]]) -> str:
    """Settings that differ from the defaults, in a cell."""
    if not settings:
        return "as in the paper"
    parts = [f"<code>{escape(name)}</code> {value(here)}" for name, (paper, here) in settings.items()]
    return "<br>".join(parts)


def budget(given: Mapping[str, float]) -> str:
    """A budget in words."""
    return ", ".join(f"{limit:,.10g} {name}" for name, limit in given.items()) or "the method's own epochs"


def environment(given: Mapping[str, Any]) -> str:
    """Versions and machine as one list."""
    versions = ", ".join(f"{name} {version}" for name, version in given.get("versions", {}).items())
    machine = given.get("machine", {})
    where = f"{machine.get('processor', '')}, {machine.get('cores', '?')} cores, {machine.get('threads', '?')} threads"
    lines = [versions, f"{where}, {machine.get('system', '')}"]
    if "gpu" in machine:
        lines.append(machine["gpu"])
    return sentences(lines)


def curve_of(folder: Any) -> list[tuple[float, float]]:
    """A run's (step, figure) pairs, thinned to bin means."""
    points = [(float(e["step"]), float(e["loss"])) for e in events(folder) if "loss" in e and "step" in e]
    return thinned(points)


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """(step, figure) pairs as means of bins, at most ``POINTS`` of them."""
    width = max(1, -(-len(points) // POINTS))
    blocks = [points[i : i + width] for i in range(0, len(points), width)]
    return [(block[-1][0], sum(v for _, v in block) / len(block)) for block in blocks]


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean of seeds' curves where all have a point."""
    shortest = min((len(curve) for curve in curves), default=0)
    return [(curves[0][i][0], sum(curve[i][1] for curve in curves) / len(curves)) for i in range(shortest)]


def before_after(before: float | None, after: float | None) -> list[str]:
    """Cells of a figure before and after, and of the change where both are there."""
    if before is None or after is None:
        return ["" if before is None else number(before), "" if after is None else number(after), ""]
    change = after - before
    sign = "+" if change >= 0 else "−"
    return [number(before), number(after), f"{sign}{number(abs(change))}"]
