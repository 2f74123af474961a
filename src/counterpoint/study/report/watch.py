"""A page of runs that go on: their curves so far, drawn anew by the browser's own refresh until all are finished."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import metadata
from pathlib import Path
from string import Template

from counterpoint.study.during.watched import Watched, lasting
from counterpoint.study.files import write_text
from counterpoint.study.report import html
from counterpoint.study.report.page import resource
from counterpoint.study.report.plots import Series, curve


def write_page(runs: Sequence[Watched], to: Path, seconds: float) -> Path:
    """Write the page; it asks to be loaded again after so many seconds while a run goes on."""
    page = Template(resource("report.html")).substitute(
        title=escape(", ".join(dict.fromkeys(run.key for run in runs)) or "nothing yet"),
        style=resource("report.css"),
        body="\n".join(_section(run) for run in runs),
        version=metadata.version("counterpoint"),
    )
    if not all(run.finished for run in runs):
        refresh = f'<meta http-equiv="refresh" content="{max(round(seconds), 1)}">'
        page = page.replace("</head>", f"{refresh}</head>", 1)
    write_text(to, page)
    return to


def _section(run: Watched) -> str:
    limit = run.budget.get("steps")
    facts = [
        ("steps", f"{run.step:,}" + (f" of {limit:,.0f}" if limit else "")),
        ("state", "finished" if run.finished else "going on"),
        ("pace", f"{run.pace:.3g} steps/s" if run.pace else ""),
        ("left", lasting(run.left) if run.left is not None else ""),
    ]
    panels = []
    if len(run.steps) > 1:
        points = html.thinned(list(zip(map(float, run.steps), run.losses, strict=True)))
        panels.append(("training loss", points))
    names = dict.fromkeys(name for figures in run.evaluations.values() for name in figures)
    for name in names:
        points = [
            (float(step), figures[name]) for step, figures in run.evaluations.items() if name in figures
        ]
        if len(points) > 1:
            panels.append((f"{name.replace('_', ' ')} on validation", points))
    drawn = "".join(
        f"<div><h4>{escape(title)}</h4>{curve(Series(title, f'var(--c{at % 4})', points), title=title)}</div>"
        for at, (title, points) in enumerate(panels)
    )
    last = html.table(
        ("figure", "last"), [[escape(name), html.value(value)] for name, value in run.last.items()]
    )
    return (
        f'<section class="study"><p class="eyebrow">a run</p><h1>{escape(run.key)}</h1>'
        f'<p class="note mono">{escape(str(run.folder))}</p>{html.facts(facts)}'
        + (f'<figure><div class="panels">{drawn}</div></figure>' if drawn else "<p>No steps yet.</p>")
        + (last if run.last else "")
        + "</section>"
    )
