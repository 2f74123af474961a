"""The part of a report page that shows a single run."""

from __future__ import annotations

import csv
from html import escape
from pathlib import Path

from counterpoint.study.report import html
from counterpoint.study.report.plots import Series, curve
from counterpoint.study.store import Result
from counterpoint.study.wording import only_before


def section(result: Result, anchor: str) -> tuple[str, str]:
    """Title and HTML of a run."""
    title = f"{result.key} on {result.data['spec']}"
    cost = result.cost
    spent = ", ".join(f"{v:,.0f} {k}" for k, v in result.spent.items() if k != "seconds")
    parts = [
        f'<section class="study" id="{anchor}"><p class="eyebrow">one run</p><h1>{escape(title)}</h1>',
        html.facts(
            [
                ("model", result.model),
                ("seed", str(result.seed)),
                ("spent", spent),
                ("wall", f"{cost['wall_seconds']:.1f} s"),
                ("CPU", f"{cost['cpu_seconds']:.1f} s"),
                ("memory", f"{cost['peak_rss_bytes'] / 2**20:,.0f} MiB"),
            ]
        ),
        '<p class="note">One seed cannot say how sure a figure is: <code>counterpoint compare</code> runs several.</p>',
    ]
    for split, figures in result.metrics.items():
        before = result.before.get(split, {})
        body = [
            [f"{escape(name)}", *html.before_after(before.get(name), figures.get(name))]
            for name in (*figures, *(other for other in before if other not in figures))
        ]
        note = (
            f'<p class="note">{escape(only_before(before, figures))}.</p>'
            if set(before) - set(figures)
            else ""
        )
        parts.append(
            f"<h2>Figures on {escape(split)}</h2>"
            + html.table(("metric", "before", "after", "change"), body)
            + note
        )
    parts += _stages(result.folder)
    line = html.curve_of(result.folder)
    if len(line) > 1:
        drawing = curve(Series(result.key, "var(--c0)", line), title=f"Loss of {result.key}")
        parts.append(
            '<h2>Learning curve</h2><figure><div class="panels">'
            + f"<div><h4>training loss</h4>{drawing}</div></div></figure>"
        )
    rows = [
        [
            f"<code>{escape(name)}</code>",
            html.value(value),
            html.value(result.changed[name][0]) if name in result.changed else "",
        ]
        for name, value in result.settings.items()
    ]
    parts.append("<h2>Settings</h2>" + html.table(("setting", "here", "paper, where it differs"), rows))
    parts.append("<h2>Data</h2>" + html.sentences(result.data["describe"]))
    parts.append(f'<p class="note mono">fingerprint {escape(result.data["fingerprint"])}</p>')
    parts.append("<h2>Machine and versions</h2>" + html.environment(result.environment) + "</section>")
    return title, "\n".join(parts)


def _stages(folder: Path) -> list[str]:
    """What was measured after every stage of a continual training, if the model folder says so."""
    file = folder / "model" / "stages.csv"
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    names = [name for name in rows[0] if name != "split"] if rows else []
    parts = []
    for split in dict.fromkeys(row["split"] for row in rows):
        body = [[_cell(row[name]) for name in names] for row in rows if row["split"] == split]
        parts.append(f"<h2>Stages on {escape(split)}</h2>" + html.table(names, body, text=(1,)))
    return parts


def _cell(text: str) -> str:
    return f"{float(text):.3f}" if "." in text and text.replace(".", "", 1).isdigit() else escape(text)
