"""The part of a report page that shows a study: what came out, how sure, at what cost, and how it was done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from counterpoint.study import html
from counterpoint.study.files import read_json
from counterpoint.study.plots import Row, Series, curve, difference_note, rows, scatter
from counterpoint.study.wording import claim_sentence, interval, number, sentence, signed, won

Summary = Mapping[str, Any]
EVIDENCE = "evidence.json"
NAMES = {"compare": "Comparison", "ablate": "Ablation", "reproduce": "Reproduction"}
TAGS = {"better": ("good", "▲ better"), "worse": ("bad", "▼ worse"), "unclear": ("open", "○ not shown")}


def section(summary: Summary, folder: Path, anchor: str) -> tuple[str, str]:
    """Title and HTML of a study."""
    what = NAMES.get(summary["what"], summary["what"])
    names = list(summary["arms"])
    subject = summary["title"] or (" · ".join(names) if len(names) <= 4 else f"{len(names)} methods")
    title = f"{subject} on {summary['data']['spec']}"
    colors = _colors(summary)
    seeds = len(summary["seeds"])
    parts = [
        f'<section class="study" id="{anchor}"><p class="eyebrow">{what}</p><h1>{escape(title)}</h1>',
        html.facts(
            [
                ("judged by", summary["primary"]),
                ("seeds", str(seeds)),
                ("budget", html.budget(summary["budget"])),
                ("tuning", f"{summary['trials']} trials each" if summary["trials"] else "none"),
                ("model", summary["model"]),
                ("finished", summary["finished"]),
            ]
        ),
        _claims(folder),
        _findings(summary),
        _figures(summary, colors),
        _difference_plot(summary, colors),
        _curves(summary, folder, colors),
        _cost(summary, colors),
        _all_metrics(summary),
        _tuning(summary),
        _setup(summary),
        "</section>",
    ]
    return title, "\n".join(part for part in parts if part)


def _colors(summary: Summary) -> dict[str, str]:
    rest = [name for name in summary["arms"] if name != summary["baseline"]]
    return {summary["baseline"]: "var(--base)", **{name: f"var(--c{i % 8})" for i, name in enumerate(rest)}}


def _lower(summary: Summary, metric: str) -> bool:
    return metric in summary["lower_is_better"]


def _findings(summary: Summary) -> str:
    baseline, items = summary["baseline"], []
    for name in summary["ranked"]:
        difference = summary["differences"][summary["primary"]].get(name)
        if difference is None:
            continue
        state = {"above": "better", "below": "worse"}.get(difference["verdict"], "unclear")
        kind, tag = TAGS[state]
        items.append(
            f'<li class="{kind}"><span class="tag">{tag}</span><span>{escape(sentence(name, baseline, difference))}</span></li>'
        )
    told = ""
    if summary["baseline_is_best"] and len(summary["arms"]) > 1:
        told = (
            f'<p class="note">No baseline was named, so differences are from the best arm, {escape(baseline)}, which these '
            "seeds themselves chose: that flatters it a little.</p>"
        )
    return (f'<ul class="findings">{"".join(items)}</ul>' if items else "") + told


def _claims(folder: Path) -> str:
    """What the paper says and whether it shows here; only a reproduction has claims."""
    path = folder / EVIDENCE
    if not path.exists():
        return ""
    found = read_json(path)
    items = []
    for claim in found["claims"]:
        kind, tag = ("good", "✓ shown") if claim["verdict"] == "shown" else ("open", "○ not shown")
        if claim["opposite"]:
            kind, tag = "bad", "✗ opposite"
        items.append(
            f'<li class="{kind}"><span class="tag">{tag}</span><span>{escape(claim["text"])}</span>'
            f"<small>{escape(claim_sentence(claim))}</small></li>"
        )
    notes = html.sentences(found["notes"]) if found["notes"] else ""
    return f'<h2>What the paper says</h2><ul class="findings">{"".join(items)}</ul>{notes}<h2>What the arms show</h2>'


def _figures(summary: Summary, colors: Mapping[str, str]) -> str:
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


def _difference_plot(summary: Summary, colors: Mapping[str, str]) -> str:
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
            _signed(d["mean"], d["verdict"]),
            interval(d, plus=True),
            f"{signed(d['boot_low'])} to {signed(d['boot_high'])}" if d["boot_low"] is not None else "–",
            won(d).replace(" seeds", ""),
            _percent(d["probability"]),
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
        "P(better)",
        "p (Holm)",
    )
    return (
        f"<h2>Difference from {escape(baseline)}</h2>"
        "<p>Taken seed by seed: the same seed gives every arm the same initial weights and order of the data. "
        "An interval that includes zero shows no difference. Intervals speak of other seeds on this data, not of other data.</p>"
        + html.figure(
            rows(given, zero=True, title=f"Paired differences of {metric} from {baseline}"),
            f"Right of the dashed line is better than {baseline}. P(better): probability that the mean over all seeds is.",
        )
        + html.table(head, body)
    )


def _curves(summary: Summary, folder: Path, colors: Mapping[str, str]) -> str:
    panels = []
    for name in summary["ranked"]:
        found = [html.curve_of(folder / run["folder"]) for run in summary["arms"][name]["runs"]]
        found = [line for line in found if len(line) > 1]
        if not found:
            continue
        drawing = curve(
            Series(name, colors[name], html.mean_curve(found), found), title=f"Training loss of {name}"
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


def _cost(summary: Summary, colors: Mapping[str, str]) -> str:
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
                    f"{cost[c]['mean']:.1f}" if c in cost else "–"
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
            "Up is better, left is cheaper. Training and measuring together; tuning is not counted.",
        )
        + html.table(head, body)
    )


def _all_metrics(summary: Summary) -> str:
    ranked, baseline = summary["ranked"], summary["baseline"]
    body = []
    for metric in summary["metrics"]:
        cells = []
        for name in ranked:
            figure = summary["arms"][name]["metrics"][metric]
            d = summary["differences"][metric].get(name)
            verdict = "" if d is None else d["verdict"]
            if _lower(summary, metric):
                verdict = {"above": "below", "below": "above"}.get(verdict, verdict)
            small = f"<small>{interval(figure)}</small>"
            more = "" if d is None else f"<small>{_signed(d['mean'], verdict)}</small>"
            cells.append(f"{number(figure['mean'])}{small}{more}")
        way = " ↓" if _lower(summary, metric) else ""
        start = summary["before"].get(metric)
        cells.append("–" if start is None else number(start["mean"]))
        body.append([f"{escape(metric)}{way}", *cells])
    seeds = [
        [f"{escape(name)}, seed {run['seed']}", *(number(run["metrics"][m]) for m in summary["metrics"])]
        for name in ranked
        for run in summary["arms"][name]["runs"]
    ]
    return (
        "<h2>All metrics</h2>"
        f'<p class="note">Mean, its 95% interval, and the paired difference from {escape(baseline)}, coloured where its interval '
        "excludes zero. ↓: less is better. Only the first metric was named beforehand; the others were looked at, too.</p>"
        + html.table(("metric", *ranked, "before"), body)
        + "<details><summary>Every seed</summary>"
        + html.table(("run", *summary["metrics"]), seeds)
        + "</details>"
    )


def _tuning(summary: Summary) -> str:
    if not summary["trials"]:
        return ""
    body = []
    for name in summary["ranked"]:
        tuning = summary["arms"][name]["tuning"]
        if tuning is None:
            body.append([escape(name), "0", "nothing to tune", "–", "–"])
            continue
        chosen = tuning["chosen"]
        settings = (
            ", ".join(f"{escape(k)} {html.value(v)}" for k, v in chosen["settings"].items())
            or "the settings as given"
        )
        first = tuning["trials"][0]["value"]
        failed = f" ({tuning['failed']} failed)" if tuning["failed"] else ""
        body.append(
            [
                escape(name),
                f"{len(tuning['trials'])}{failed}",
                settings,
                number(first),
                number(chosen["value"]),
            ]
        )
    seeds = summary.get("tuning_seeds", 1)
    whose = "a seed of its own" if seeds == 1 else f"{seeds} seeds of its own, averaged"
    metric = escape(summary.get("tune_by", summary["primary"]))
    return (
        f"<h2>Tuning</h2><p>On the validation split only, by {metric}, with {whose}, the same number of trials for every arm "
        "that has something to tune; the first trial is the settings as given.</p>"
        + html.table(("", "trials", "chosen", "as given", "chosen, validation"), body, text=(2,))
    )


def _setup(summary: Summary) -> str:
    body = [
        [
            escape(name),
            f"<code>{escape(arm['key'])}</code>",
            escape(arm["title"]),
            html.changed(arm["changed"]),
        ]
        for name, arm in summary["arms"].items()
    ]
    every = "".join(
        f"<details><summary>All settings of {escape(name)}</summary>"
        + html.table(
            ("setting", "value"),
            [[f"<code>{escape(k)}</code>", html.value(v)] for k, v in arm["settings"].items()],
        )
        + "</details>"
        for name, arm in summary["arms"].items()
    )
    return (
        "<h2>Methods and settings</h2>"
        + html.table(("arm", "method", "", "differs from the paper"), body, text=(1, 2, 3))
        + every
        + f"<h2>Data</h2>{html.sentences(summary['data']['describe'])}"
        + f'<p class="note mono">fingerprint {escape(summary["data"]["fingerprint"])}</p>'
        + f"<h2>Machine and versions</h2>{html.environment(summary['environment'])}"
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _seen(dots: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return [dot for dot in dots if math.isfinite(dot[1])]


def _signed(value: float | None, verdict: str) -> str:
    css = {"above": "up", "below": "down"}.get(verdict, "")
    return f'<span class="{css}">{signed(value)}</span>' if css else signed(value)


def _ranked(summary: Summary) -> list[tuple[str, Mapping[str, Any]]]:
    """Differences in the order of the ranking."""
    found = summary["differences"][summary["primary"]]
    return [(name, found[name]) for name in summary["ranked"] if name in found]


def _percent(value: float | None) -> str:
    if value is None:
        return "–"
    return "&gt; 99.9%" if value > 0.999 else "&lt; 0.1%" if value < 0.001 else f"{100 * value:.1f}%"


def _p(value: float) -> str:
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"
