"""The part of a report page that shows a study: claims and findings in words, drawings, all figures, how it was done."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from counterpoint.study.report import drawings as report_drawings
from counterpoint.study.report import html, search
from counterpoint.study.reproduce import check_evidence
from counterpoint.study.wording import claim_sentence, interval, number, sentence

Summary = Mapping[str, Any]
EVIDENCE = "evidence.json"
READ = (
    "arms",
    "baseline",
    "baseline_is_best",
    "before",
    "budget",
    "data",
    "differences",
    "environment",
    "finished",
    "lower_is_better",
    "metrics",
    "model",
    "primary",
    "ranked",
    "seeds",
    "title",
    "trials",
    "what",
)
"""What a summary must hold to be drawn."""
NAMES = {"compare": "Comparison", "ablate": "Ablation", "reproduce": "Reproduction", "tune": "Search"}
TAGS = {
    "better": ("good", "▲ better"),
    "worse": ("bad", "▼ worse"),
    "unclear": ("open", "○ not shown"),
    "unequal": ("open", "≠ not compared"),
    "not run": ("open", "– not run"),
}


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
                ("tuning", _trials(summary)),
                ("model", summary["model"]),
                ("finished", summary["finished"]),
            ]
        ),
        _claims(folder),
        _findings(summary),
        search.section(summary),
        report_drawings.figures(summary, colors),
        report_drawings.difference_plot(summary, colors),
        report_drawings.curves(summary, folder, colors),
        report_drawings.cost(summary, colors),
        _all_metrics(summary),
        _tuning(summary),
        _setup(summary),
        "</section>",
    ]
    return title, "\n".join(part for part in parts if part)


def _trials(summary: Summary) -> str:
    tuned = [name for name, arm in summary["arms"].items() if arm["tuning"] is not None]
    if not summary["trials"] or not tuned:
        return "none"
    rest = "" if len(tuned) == len(summary["arms"]) else f", {len(tuned)} of {len(summary['arms'])} arms"
    return f"{summary['trials']} configurations each{rest}"


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
        state = {"above": "better", "below": "worse"}.get(
            difference["verdict"], "unequal" if difference.get("unequal") else "unclear"
        )
        kind, tag = TAGS[state]
        items.append(
            f'<li class="{kind}"><span class="tag">{tag}</span><span>{escape(sentence(name, baseline, difference))}</span></li>'
        )
    details = ""
    if summary["baseline_is_best"] and len(summary["arms"]) > 1:
        details = (
            f'<p class="note">No baseline was named, so differences are from the best arm, {escape(baseline)}, which these '
            "seeds themselves chose: that flatters it a little.</p>"
        )
    for name, reason in summary.get("not_run", {}).items():
        kind, tag = TAGS["not run"]
        items.append(
            f'<li class="{kind}"><span class="tag">{tag}</span><span>{escape(f"{name}: {reason}")}</span></li>'
        )
    return (f'<ul class="findings">{"".join(items)}</ul>' if items else "") + details


def _claims(folder: Path) -> str:
    """What the paper says and whether it shows here; only a reproduction has claims."""
    path = folder / EVIDENCE
    if not path.exists():
        return ""
    evidence = check_evidence(path)
    items = []
    for claim in evidence["claims"]:
        kind, tag = ("good", "✓ shown") if claim["verdict"] == "shown" else ("open", "○ not shown")
        if claim["opposite"]:
            kind, tag = "bad", "✗ opposite"
        items.append(
            f'<li class="{kind}"><span class="tag">{tag}</span><span>{escape(claim["text"])}</span>'
            f"<small>{escape(claim_sentence(claim))}</small></li>"
        )
    notes = html.sentences(evidence["notes"]) if evidence["notes"] else ""
    return f'<h2>What the paper says</h2><ul class="findings">{"".join(items)}</ul>{notes}<h2>What the arms show</h2>'


def _all_metrics(summary: Summary) -> str:
    ranked, baseline = summary["ranked"], summary["baseline"]
    body = []
    for metric in summary["metrics"]:
        cells = []
        for name in ranked:
            figure = summary["arms"][name]["metrics"].get(metric)
            if figure is None:  # this arm's models have no such figure
                cells.append("–")
                continue
            d = summary["differences"][metric].get(name)
            verdict = "" if d is None else d["verdict"]
            if _lower(summary, metric):
                verdict = {"above": "below", "below": "above"}.get(verdict, verdict)
            small = f"<small>{interval(figure)}</small>"
            more = "" if d is None else f"<small>{html.coloured(d['mean'], verdict)}</small>"
            cells.append(f"{number(figure['mean'])}{small}{more}")
        way = " ↓" if _lower(summary, metric) else ""
        start = summary["before"].get(metric)
        if summary["before"]:
            cells.append("–" if start is None else number(start["mean"]))
        body.append([f"{escape(metric)}{way}", *cells])
    seeds = [
        [f"{escape(name)}, seed {run['seed']}", *(number(run["metrics"].get(m)) for m in summary["metrics"])]
        for name in ranked
        for run in summary["arms"][name]["runs"]
    ]
    return (
        "<h2>All metrics</h2>"
        f'<p class="note">Mean, its 95% interval, and the paired difference from {escape(baseline)}, coloured where its interval '
        "excludes zero, also when it is corrected for the number of arms. ↓: less is better. Only the first metric was named beforehand; the others were looked at, too.</p>"
        + html.table(("metric", *ranked, *(("before",) if summary["before"] else ())), body)
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
            body.append([escape(name), "0", "–", "not tuned", "–", "–"])
            continue
        chosen = tuning["chosen"]
        settings = (
            ", ".join(f"{escape(k)} {html.value(v)}" for k, v in chosen["settings"].items())
            or "the settings as given"
        )
        own = [trial["value"] for trial in tuning["trials"] if not trial["settings"]]
        ranges = "<br>".join(
            f"<code>{escape(k)}</code> {escape(_range(v))}" for k, v in tuning["ranges"].items()
        )
        failed = f" ({tuning['failed']} failed)" if tuning["failed"] else ""
        body.append(
            [
                escape(name),
                f"{len(tuning['trials'])}{failed}",
                ranges,
                settings,
                number(own[0]) if own else "not among them",
                number(chosen["value"]),
            ]
        )
    seeds = summary.get("tuning_seeds", 1)
    whose = "a seed of its own" if seeds == 1 else f"{seeds} seeds of its own, averaged"
    metric = escape(summary.get("tune_by", summary["primary"]))
    return (
        f"<h2>Tuning</h2><p>On the validation split only, by {metric}, with {whose}, the same number of different configurations "
        "for every arm that has something to tune.</p>"
        + html.table(
            ("", "configurations", "of", "chosen", "as given", "chosen, validation"), body, text=(2, 3)
        )
    )


def _range(given: Any) -> str:
    if isinstance(given, Mapping):
        return f"{given['low']:g} to {given['high']:g}"
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in given)


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
        + html.table(("arm", "method", "", "differs from the defaults"), body, text=(1, 2, 3))
        + every
        + f"<h2>Data</h2>{html.sentences(summary['data']['describe'])}"
        + f'<p class="note mono">fingerprint {escape(summary["data"]["fingerprint"])}</p>'
        + f"<h2>Machine and versions</h2>{html.environment(summary['environment'])}"
    )
