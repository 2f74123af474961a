"""The part of a report page that shows a single run."""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path
from typing import Any

from counterpoint.errors import counted
from counterpoint.study.report import front_plot, html
from counterpoint.study.report.plots import Series, curve
from counterpoint.study.samples import prompt_text, requests_of, samples_of
from counterpoint.study.store import REPORTED, Result
from counterpoint.study.wording import only_before
from counterpoint.training.report import Report

PROMPTS, LONGEST = 3, 300
"""Prompts with their answers that a page shows, and characters of each text."""
GALLERY = "gallery.png"
"""A picture of images in a part of the model's folder."""
SHOWN = 60
"""Longest table that a page draws; a longer one is named."""


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
    parts += _reported(result.folder)
    parts += _gallery(result.folder)
    parts += _sampled(result.folder)
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


def _reported(folder: Path) -> list[str]:
    """What training reported of itself: its figures and its short tables, one by split where the rows have one."""
    report = Report.read(folder / REPORTED)
    if (
        not report.tables and (folder / "model" / "stages.csv").exists()
    ):  # runs from before there was a report
        report.tables = {"stages": Report.read(folder / "model").rows("stages")}
    parts = []
    if report.figures:
        body = [[escape(name), html.value(value)] for name, value in report.figures.items()]
        parts.append("<h2>Reported by the training</h2>" + html.table(("figure", "value"), body))
    for table, rows in report.tables.items():
        parts += _curves(table, rows)
        if table == front_plot.TABLE and (drawn := front_plot.drawing(rows)):
            caption = "Each dot is a student, by exact operations and relation loss on held-out texts; the line, those that nothing cheaper beats."
            parts.append("<h2>Students by cost</h2>" + html.figure(drawn, caption))
        if len(rows) > SHOWN:
            where = f"<code>{REPORTED}/{escape(table)}.csv</code>"
            parts.append(f'<p class="note">{escape(table)}: {len(rows):,} rows in {where}</p>')
            continue
        for split in dict.fromkeys(row.get("split") for row in rows):
            mine = [row for row in rows if row.get("split") == split]
            names = [name for name in dict.fromkeys(n for row in mine for n in row) if name != "split"]
            words = [i for i, name in enumerate(names) if any(isinstance(row.get(name), str) for row in mine)]
            title = escape(table.replace("_", " ").capitalize()) + (
                f" on {escape(str(split))}" if split else ""
            )
            body = [[_cell(row.get(name, "")) for name in names] for row in mine]
            parts.append(f"<h2>{title}</h2>" + html.table(names, body, text=words))
    return parts


def _curves(table: str, rows: list[dict[str, Any]]) -> list[str]:
    """A table with a row a step, and nothing but numbers, as one small curve a column."""
    if len(rows) < 2 or any(
        "step" not in row or any(isinstance(cell, str) for cell in row.values()) for row in rows
    ):
        return []
    panels = []
    for at, name in enumerate(name for name in rows[0] if name != "step"):
        points = [(float(row["step"]), float(row[name])) for row in rows if name in row]
        drawing = curve(Series(name, f"var(--c{at % 4})", points), title=f"{table}: {name}")
        panels.append(f"<div><h4>{escape(name.replace('_', ' '))}</h4>{drawing}</div>")
    title = escape(table.replace("_", " ").capitalize())
    return [f'<h2>{title} by step</h2><figure><div class="panels">{"".join(panels)}</div></figure>']


def _gallery(folder: Path) -> list[str]:
    """Images that training made, where the model's folder has a picture of them."""
    parts = []
    for path in sorted((folder / "model").glob(f"*/{GALLERY}")):
        picture = base64.b64encode(path.read_bytes()).decode("ascii")
        title = escape(_named(path.parent.name))
        parts.append(
            f'<h2>{title}</h2><figure><img class="gallery" alt="{title}" src="data:image/png;base64,{picture}"></figure>'
        )
    return parts


def _named(folder: str) -> str:
    """What a folder of pictures holds, in words.

    >>> _named("distilled"), _named("samples_008_steps"), _named("samples_001_steps_without_guidance")
    ('Distilled images', 'Samples of 8 steps', 'Samples of 1 step without guidance')
    >>> _named("before_and_after_styled"), _named("training_pairs")
    ('Before and after, styled: images above, below what the model makes of them', 'Training pairs images')
    """
    before_after = re.fullmatch(r"before_and_after_(.+)", folder)
    if before_after is not None:
        return f"Before and after, {before_after[1]}: images above, below what the model makes of them"
    steps = re.fullmatch(r"samples_0*(\d+)_steps(.*)", folder)
    if steps is None:
        return f"{folder.replace('_', ' ').capitalize()} images"
    return f"Samples of {counted(int(steps[1]), 'step')}{steps[2].replace('_', ' ')}"


def _sampled(folder: Path) -> list[str]:
    """The last few prompts with their answers and rewards, and what servers were asked."""
    rows, requests, parts = samples_of(folder, missing_ok=True)[-PROMPTS:], requests_of(folder), []
    for row in rows:
        judges = list(dict.fromkeys(name for each in row["answers"] for name in each.get("rewards", {})))
        body = [
            [
                escape(each["text"][:LONGEST]),
                *(html.value(each.get("rewards", {}).get(name)) for name in judges),
            ]
            for each in row["answers"]
        ]
        title = escape(prompt_text(row["prompt"])[-LONGEST:])
        parts.append(f'<p class="note">step {row["step"]}: <code>{title}</code></p>')
        parts.append(html.table(("answer", *judges), body, text=[0]))
    if rows:
        parts.insert(0, "<h2>What was sampled last</h2>")
        command = f"counterpoint show-samples {escape(str(folder))}"
        parts.append(f'<p class="note"><code>{command}</code> shows more.</p>')
    if requests:
        facts = [(name.replace("_", " "), f"{value:,.6g}") for name, value in requests.items()]
        parts.append("<h2>Requests to servers</h2>" + html.facts(facts))
    return parts


def _cell(value: float | str) -> str:
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))
