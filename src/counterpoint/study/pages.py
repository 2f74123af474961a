"""Draws the evidence tables of the methods' pages from the evidence files, so that no figure is typed by hand.

``python -m counterpoint.study.pages docs`` rewrites what stands between ``<!-- evidence: KEY -->`` and
``<!-- /evidence -->`` in every page; a test sees that pages and evidence agree.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.study.case import OF_SEED
from counterpoint.study.reproduce import check_evidence

OPEN, CLOSE = "<!-- evidence: {key} -->", "<!-- /evidence -->"
NOT_RUN = "*Not run yet.*"


def table(content: Mapping[str, Any]) -> str:
    """Evidence as Markdown: the claims with their verdicts, then every arm's figures, then what was run."""
    metrics = content["metrics"]
    lines = ["| claim | measured (95 % interval) | verdict |", "|---|---|---|"]
    for claim in content["claims"]:
        verdict = "**shown**" if claim["verdict"] == "shown" else "not shown"
        if claim.get("opposite"):
            verdict = "the opposite is shown"
        bound = f" (wanted: above {_figure(claim['above'])})" if claim["above"] else ""
        lines.append(f"| {claim['text']} | {claim['metric']} {_interval(claim)}{bound} | {verdict} |")
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
    data = content["data"]
    spec = data if isinstance(data, str) else data.get("spec", "")
    budget = (
        ", ".join(f"{value:g} {name}" for name, value in content["budget"].items())
        if content["budget"]
        else "per arm"
    )
    trials = f", {content['trials']} tuning trials per tuned arm on validation" if content["trials"] else ""
    if trials and content.get("tune_by", content["primary"]) != content["primary"]:
        trials += f" by `{content['tune_by']}`"
    if trials and content.get("tuning_seeds", 1) > 1:
        trials += f" (each the mean of {content['tuning_seeds']} seeds of their own)"
    seeds = content["seeds"]
    count = len(seeds) if isinstance(seeds, list) else seeds
    drawn = OF_SEED in (data.get("options") or {}).values() if isinstance(data, Mapping) else False
    splits = ", each with a split of its own" if drawn else ""
    lines += [
        "",
        f"Data `{spec}`, model `{content['model']}`, budget {budget}, {count} seeds{splits}{trials}; mean ± standard deviation over "
        "seeds, CPU seconds of one run and peak memory of its process (with interpreter, libraries and data); a claim is shown when its "
        "whole paired interval is on its side.",
    ]
    lines += [f"- {note}" for note in content["notes"]]
    return "\n".join(lines)


def summary(evidence: Path) -> str:
    """All evidence as one table: what each method's reproduction showed at small scale, and what it did not."""
    lines = ["| method | shown at small scale | not shown |", "|---|---|---|"]
    for path in sorted(evidence.glob("*.json")):
        content = check_evidence(path)
        shown = [claim["text"] for claim in content["claims"] if claim["verdict"] == "shown"]
        rest = [claim["text"] for claim in content["claims"] if claim["verdict"] != "shown"]
        key = content["key"]
        lines.append(
            f"| [`{key}`](docs/methods/{key}.md) | {'; '.join(shown) or '-'} | {'; '.join(rest) or '-'} |"
        )
    return "\n".join(lines)


def refresh_summary(page: str, evidence: Path) -> str:
    """A page's text with the table of all evidence drawn anew."""
    block = f"<!-- evidence -->\n{summary(evidence)}\n<!-- /evidence -->"
    return re.sub(r"<!-- evidence -->.*?<!-- /evidence -->", lambda _: block, page, flags=re.S)


def refresh(page: str, evidence: Path) -> str:
    """A page's text with every evidence block drawn anew; a method without evidence says so."""

    def draw(found: re.Match[str]) -> str:
        key = found.group(1)
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
    return f"{_figure(claim['mean'])} [{_figure(claim['low'])}, {_figure(claim['high'])}]"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = sum(known) / len(known)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in known) / (len(known) - 1)) if len(known) > 1 else 0.0
    return f"{_figure(mean)} ± {_figure(deviation)}"


if __name__ == "__main__":
    docs = Path(sys.argv[1])
    if not (docs / "evidence").is_dir():
        sys.exit(
            f"error: {docs} holds no evidence; expected the folder with evidence/ and methods/, such as docs"
        )
    front = docs.parent / "README.md"
    front.write_text(refresh_summary(front.read_text(encoding="utf-8"), docs / "evidence"), encoding="utf-8")
    for found in sorted((docs / "methods").glob("*.md")):
        found.write_text(refresh(found.read_text(encoding="utf-8"), docs / "evidence"), encoding="utf-8")
