"""The drawings of a study's report, each with its heading and table: figures, differences, learning curves, cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from counterpoint.study.report import html
from counterpoint.study.report.plots import Row, Series, curve, difference_note, rows, scatter
from counterpoint.study.statistics import FEWEST
from counterpoint.study.wording import duration, interval, number, signed, won

Summary = Mapping[str, Any]


def figures(summary: Summary, colors: Mapping[str, str]) -> str:
    """The primary metric of every arm: seeds, means, intervals."""
    metric = summary["primary"]
    given = []
    for name in summary["ranked"]:
        arm = summary["arms"][name]
        figure = arm["metrics"][metric]
        dots = [
            (f"{name}, seed {r['seed']}: {number(r['metrics'][metric])}", _number(r["metrics"][metric]))
            for r in arm["runs"]
        ]
        label = (
            f"{name} (baseline)" if name == summary["baseline"] and not summary["baseline_is_best"] else name
        )
        note = (
            f"{number(figure['mean'])} [{interval(figure).replace(' to ', ', ')}]"
            if figure["low"] is not None
            else number(figure["mean"])
        )
        given.append(
            Row(
                label, _number(figure["mean"]), figure["low"], figure["high"], _seen(dots), colors[name], note
            )
        )
    start = summary["before"].get(metric, {}).get("mean")
    seen = [dot for row in given for _, dot in row.dots]
    room = 2 * (max(seen) - min(seen)) if seen else 0.0
    off = start is not None and not min(seen, default=0.0) - room <= start <= max(seen, default=0.0) + room
    drawing = rows(
        given, start=None if off else start, title=f"{metric} on test of every arm, with 95 % intervals"
    )
    caption = "Each dot is a seed, the diamond their mean, the line the 95% Student interval of the mean. An arrow: it goes on."
    caption += f" Before training, off the scale: {number(start)}." if off else ""
    return f"<h2>{escape(metric)} on test</h2>" + html.figure(drawing, caption)


def difference_plot(summary: Summary, colors: Mapping[str, str]) -> str:
    """Paired differences from the baseline, drawn and in a table."""
    metric, baseline = summary["primary"], summary["baseline"]
    given = []
    for name in summary["ranked"]:
        d = summary["differences"][metric].get(name)
        if d is None:
            continue
        dots = [
            (f"{name} minus {baseline}, seed {i}: {signed(v)}", _number(v)) for i, v in enumerate(d["values"])
        ]
        note = difference_note(d["mean"], d["low"], d["high"])
        given.append(Row(name, _number(d["mean"]), d["low"], d["high"], _seen(dots), colors[name], note))
    if not given:
        return ""
    body = [
        [
            escape(name),
            html.coloured(d["mean"], d["verdict"]),
            interval(d, plus=True),
            f"{signed(d['boot_low'])} to {signed(d['boot_high'])}" if d["boot_low"] is not None else "–",
            won(d).replace(" seeds", ""),
            "–" if d.get("unequal") or d["n"] < FEWEST else _percent(d["probability"]),
            "–" if d["p_holm"] is None else _p(d["p_holm"]),
        ]
        for name, d in _ranked(summary)
    ]
    head = (
        "",
        f"minus {baseline}",
        "95% interval",
        "bootstrap 95%",
        "seeds won",
        "likely better",
        "p (Holm)",
    )
    return (
        f"<h2>Difference from {escape(baseline)}</h2>"
        "<p>Taken seed by seed: the same seed gives every arm the same initial weights and order of the data. "
        "An interval that includes zero shows no difference. Intervals speak of other seeds on this data, not of other data.</p>"
        + html.figure(
            rows(given, zero=True, title=f"Paired differences of {metric} from {baseline}"),
            f"Right of the dashed line is better than {baseline}. Likely better: how likely, after these seeds, the mean over "
            "many more would lie there; 50% means that either may be. p (Holm): how often chance alone would differ as much, "
            "corrected for the number of comparisons.",
        )
        + html.table(head, body)
    )


def curves(summary: Summary, folder: Path, colors: Mapping[str, str]) -> str:
    """Training losses."""
    panels = []
    for name in summary["ranked"]:
        lines = [html.curve_of(folder / run["folder"]) for run in summary["arms"][name]["runs"]]
        lines = [line for line in lines if len(line) > 1]
        if not lines:
            continue
        drawing = curve(
            Series(name, colors[name], html.mean_curve(lines), lines), title=f"Training loss of {name}"
        )
        panels.append(
            f'<div><h4><span class="swatch" style="background:{colors[name]}"></span>{escape(name)}</h4>{drawing}</div>'
        )
    if not panels:
        return ""
    caption = "Thin lines are seeds, the thick one their mean. Different methods have different losses: compare shapes, not heights."
    return (
        f'<h2>Learning curves</h2><figure><div class="panels">{"".join(panels)}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def cost(summary: Summary, colors: Mapping[str, str]) -> str:
    """What the quality costs."""
    gpu = "gpu" in summary["environment"].get("machine", {})
    name, label = ("wall_seconds", "wall seconds per run") if gpu else ("cpu_seconds", "CPU seconds per run")
    metric = summary["primary"]
    clouds = [
        Series(
            arm,
            colors[arm],
            [
                (r["cost"][name], _number(r["metrics"][metric]))
                for r in summary["arms"][arm]["runs"]
                if name in r["cost"]
            ],
        )
        for arm in summary["ranked"]
    ]
    body = []
    for arm in summary["ranked"]:
        cost, runs = summary["arms"][arm]["cost"], summary["arms"][arm]["runs"]
        steps = [run["spent"].get("steps") for run in runs]
        seen = [run["spent"].get("examples") for run in runs]
        body.append(
            [
                f'<span class="swatch" style="background:{colors[arm]}"></span>{escape(arm)}',
                *(
                    duration(cost[c]["mean"]) if c in cost else "–"
                    for c in ("wall_seconds", "cpu_seconds", "fit_seconds")
                ),
                *(
                    f"{cost[c]['mean'] / 2**20:,.0f}" if c in cost else "–"
                    for c in ("peak_rss_bytes", "peak_above_start_bytes")
                ),
                f"{steps[0]:,.0f}" if steps[0] else "–",
                f"{seen[0]:,.0f}" if seen[0] else "–",
            ]
        )
    head = (
        "mean per run",
        "wall s",
        "CPU s",
        "training s",
        "peak MiB",
        "above start MiB",
        "steps",
        "examples",
    )
    return (
        "<h2>Cost against quality</h2>"
        + html.figure(
            scatter(
                [c for c in clouds if c.points],
                x_label=label,
                y_label=metric,
                title=f"{metric} against {label}",
            ),
            "Up is better, left is cheaper. Training and measuring together, with what killed sessions had used; tuning is not counted.",
        )
        + html.table(head, body)
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _seen(dots: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return [dot for dot in dots if math.isfinite(dot[1])]


def _ranked(summary: Summary) -> list[tuple[str, Mapping[str, Any]]]:
    """Differences in the order of the ranking."""
    differences = summary["differences"][summary["primary"]]
    return [(name, differences[name]) for name in summary["ranked"] if name in differences]


def _percent(value: float | None) -> str:
    if value is None:
        return "–"
    return "&gt; 99.9%" if value > 0.999 else "&lt; 0.1%" if value < 0.001 else f"{100 * value:.1f}%"


def _p(value: float) -> str:
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"
