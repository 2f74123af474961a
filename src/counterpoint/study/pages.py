"""Draws the evidence tables of the methods' pages from the evidence files, so that no figure is typed by hand.

``python -m counterpoint.study.pages docs`` rewrites what stands between ``<!-- evidence: KEY -->`` and
``<!-- /evidence -->`` in every page, and the table of all evidence between ``<!-- evidence -->`` and ``<!-- /evidence -->`` in the
README or a page of docs; a test sees that pages and evidence agree.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.methods import catalog
from counterpoint.study.reproduce import check_evidence

VERDICTS = {"shown": "**shown**", "open": "not shown", "opposite": "the opposite is shown"}
SUMMARY = "<!-- evidence -->"
OPEN, CLOSE = "<!-- evidence: {key} -->", "<!-- /evidence -->"
NOT_RUN = "*Not run yet.*"


def table(content: Mapping[str, Any]) -> str:
    """Evidence as Markdown: the claims with their verdicts, then every arm's figures, then what was run and what preceded it."""
    metrics = content["metrics"]
    lines = ["| claim | measured (95 % interval) | p (Holm) | verdict |", "|---|---|---|---|"]
    for claim in content["claims"]:
        bound = f" (wanted: above {_figure(claim['above'])})" if claim["above"] else ""
        fair = f" ({claim['unequal']})" if claim.get("unequal") else ""
        lines.append(
            f"| {claim['text']}{fair} | {claim['metric']} {_interval(claim)}{bound} | {_p(claim.get('p_holm'))} | "
            f"{VERDICTS[outcome(claim)]} |"
        )
    lines += [
        "",
        "| arm | " + " | ".join(metrics) + " | seconds | peak MB |",
        "|---|" + "---|" * (len(metrics) + 2),
    ]
    for name, arm in content["arms"].items():
        runs = arm["runs"]
        cells = [_spread([run["metrics"].get(metric) for run in runs]) for metric in metrics]
        seconds = _mean([run["cost"].get("cpu_seconds") for run in runs])
        memory = _mean([run["cost"].get("peak_rss_bytes") for run in runs])
        cells += [
            "" if seconds is None else f"{seconds:.0f}",
            "" if memory is None else f"{memory / 2**20:.0f}",
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", _run(content)]
    lines += [
        f"- {line}"
        for line in (*_tuning(content), *content["notes"], *content.get("earlier", ()), *_origin(content))
    ]
    return "\n".join(lines)


def outcome(claim: Mapping[str, Any]) -> str:
    """What became of a claim: shown, opposite or open."""
    return "opposite" if claim.get("opposite") else "shown" if claim["verdict"] == "shown" else "open"


def _run(content: Mapping[str, Any]) -> str:
    """What was run, and what the figures are."""
    data = content["data"]
    spec = data if isinstance(data, str) else data.get("spec", "")
    seeds = content["seeds"]
    count = len(seeds) if isinstance(seeds, list) else seeds
    drawn = any(arm.get("overlap") for arm in content["arms"].values())
    splits = ", each with a split of its own" if drawn else ""
    wider = (
        "; intervals are widened for splits that overlap (variance of the mean sd^2 (1/n + n_test/n_train), Nadeau and Bengio 2003)"
        if drawn
        else ""
    )
    return (
        f"Data `{spec}`, model `{content['model']}`, budget {_budgets(content['arms'])}, {count} seeds{splits}; mean ± standard "
        "deviation over seeds, CPU seconds of one run and peak memory of its process (with interpreter, libraries and data). A claim "
        "is shown when its whole paired interval is on its side and its p-value, corrected for all claims here (Holm), is at most "
        f"0.05{wider}."
    )


def _budgets(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """The budget that most arms have, and those of the others by name."""
    words = {
        name: ", ".join(f"{value:,.10g} {unit}" for unit, value in arm["budget"].items())
        or "each arm's own epochs"
        for name, arm in arms.items()
    }
    usual = max(words.values(), key=list(words.values()).count)
    others: dict[str, list[str]] = {}
    for name, budget in words.items():
        if budget != usual:
            others.setdefault(budget, []).append(name)
    rest = "; ".join(f"{budget} for {_names(names)}" for budget, names in others.items())
    return usual + (f" ({rest})" if rest else "")


def _tuning(content: Mapping[str, Any]) -> list[str]:
    """How many configurations each arm tried, of which ranges; arms that were tuned alike share a line."""
    alike: dict[str, list[str]] = {}
    for name, arm in content["arms"].items():
        tuning = arm.get("tuning")
        if tuning is None:
            alike.setdefault("not tuned", []).append(name)
            continue
        tried = {json.dumps(trial["settings"], sort_keys=True) for trial in tuning["trials"]}
        count, repeated = len(tried), len(tuning["trials"]) - len(tried)
        ranges = ", ".join(f"`{setting}` {_range(setting, tuning)}" for setting in tuning["ranges"])
        lost = f", {tuning['failed']} of them failed" if tuning.get("failed") else ""
        twice = f" ({repeated} drawn twice)" if repeated else ""
        on = f" on {tuning['examples']:,} validation examples" if tuning.get("examples") else ""
        alike.setdefault(f"{count} configurations{twice}{lost} of {ranges}{on}", []).append(name)
    if list(alike) == ["not tuned"]:
        return ["no arm was tuned"]
    by = f"by `{content.get('tune_by', content['primary'])}` on validation"
    seeds = content.get("tuning_seeds", 1)
    averaged = f", each the mean of {seeds} seeds of their own" if seeds > 1 else ""
    return [f"tuned {by}{averaged}: " + "; ".join(f"{_names(names)} {how}" for how, names in alike.items())]


def _names(arms: list[str]) -> str:
    return ", ".join(f"“{name}”" for name in arms)


def _range(setting: str, tuning: Mapping[str, Any]) -> str:
    """What a setting was chosen from: a list, or where other values than the two listed were tried, all between them."""
    given = tuning["ranges"][setting]
    if isinstance(given, Mapping):
        return f"{given['low']:g} to {given['high']:g}"
    tried = {
        json.dumps(trial["settings"][setting]) for trial in tuning["trials"] if setting in trial["settings"]
    }
    words = [f"{v:g}" if isinstance(v, float) else str(v) for v in given]
    if len(given) == 2 and tried - {json.dumps(v) for v in given}:
        return " to ".join(words)
    return "{" + ", ".join(words) + "}"


def _origin(content: Mapping[str, Any]) -> list[str]:
    """Which version of the case and of the code the figures come from, and whether they were judged again."""
    source = content.get("source")
    if source is None:
        lines = [
            f"measured {content['finished']}, before evidence recorded its commit and the hash of its case"
        ]
    else:
        begun, judged = source["begun"], source["judged"]
        commit = (begun["commit"] or "no repository")[:12] + (
            ", case not committed" if begun["uncommitted"] else ""
        )
        lines = [f"measured {content['finished']}, case {begun['case_sha256'][:12]}, commit {commit}"]
        if judged["case_sha256"] != begun["case_sha256"]:
            lines[0] += f"; the case was changed during the study, to {judged['case_sha256'][:12]}"
    for again in content.get("rejudged", ())[-1:]:
        changed = f": {'; '.join(again['changed'])}" if again["changed"] else ""
        lines.append(f"judged again on {again['on']} by the present rules, from the same figures{changed}")
    return lines


def summary(evidence: Path, pages: str = "docs/methods") -> str:
    """All evidence as one table: what each method's reproduction showed at small scale, and what it did not.

    Args:
        evidence: the folder of evidence files. pages: where the methods' pages lie, seen from the table's file.
    """
    lines = ["| method | shown at small scale | not shown | the opposite |", "|---|---|---|---|"]
    for path in sorted(evidence.glob("*.json")):
        content = check_evidence(path)
        cells = [
            "; ".join(claim["text"] for claim in content["claims"] if outcome(claim) == state) or "-"
            for state in VERDICTS
        ]
        key = content["key"]
        # A study of several methods is no method's: its page lies beside the methods' folder.
        there = Path(pages) if key in catalog.rows() else Path(pages).parent
        there = there / f"{key}.md"
        lines.append(f"| [`{key}`]({there.as_posix()}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def refresh_summary(page: str, evidence: Path, pages: str = "docs/methods") -> str:
    """A page's text with the table of all evidence drawn anew; a page without its markers stays as it is."""
    if SUMMARY not in page:
        return page
    block = f"{SUMMARY}\n{summary(evidence, pages)}\n{CLOSE}"
    return re.sub(rf"{SUMMARY}.*?{CLOSE}", lambda _: block, page, flags=re.S)


def fronts(docs: Path) -> dict[Path, str]:
    """The pages that may hold the table of all evidence, and where the methods' pages lie, seen from each."""
    return {docs.parent / "README.md": f"{docs.name}/methods"} | {
        page: "methods" for page in sorted(docs.glob("*.md"))
    }


def refresh(page: str, evidence: Path) -> str:
    """A page's text with every evidence block drawn anew; a method without evidence says so."""

    def draw(match: re.Match[str]) -> str:
        key = match.group(1)
        path = evidence / f"{key}.json"
        body = table(check_evidence(path)) if path.exists() else NOT_RUN
        return f"{OPEN.format(key=key)}\n{body}\n{CLOSE}"

    return re.sub(r"<!-- evidence: ([\w-]+) -->(?:.*?<!-- /evidence -->)?", draw, page, flags=re.S)


def _figure(value: float | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    size = abs(value)
    return f"{value:.3f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:.0f}"


def _interval(claim: Mapping[str, Any]) -> str:
    if claim["low"] is None:
        return f"{_figure(claim['mean'])}, no interval"
    return f"{_figure(claim['mean'])} [{_figure(claim['low'])}, {_figure(claim['high'])}]"


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


def _spread(values: list[float | None]) -> str:
    present = [value for value in values if value is not None]
    if not present:
        return ""
    mean = math.fsum(present) / len(present)
    deviation = (
        math.sqrt(math.fsum((v - mean) ** 2 for v in present) / (len(present) - 1))
        if len(present) > 1
        else 0.0
    )
    return f"{_figure(mean)} ± {_figure(deviation)}"


if __name__ == "__main__":
    docs = Path(sys.argv[1])
    if not (docs / "evidence").is_dir():
        sys.exit(
            f"error: {docs} holds no evidence; expected the folder with evidence/ and methods/, such as docs"
        )
    for front, pages in fronts(docs).items():
        old = front.read_text(encoding="utf-8")
        front.write_text(refresh_summary(old, docs / "evidence", pages), encoding="utf-8")
    for page in sorted([*(docs / "methods").glob("*.md"), *docs.glob("*.md")]):
        page.write_text(refresh(page.read_text(encoding="utf-8"), docs / "evidence"), encoding="utf-8")
