"""Judges stored evidence again by the present rules. Raw figures are never touched; what was done is written beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from counterpoint.study.evidence.splits import overlap_of
from counterpoint.study.plan import Plan
from counterpoint.study.reproduce import check_evidence, digest, write_evidence
from counterpoint.study.verdicts import arm_figures, claims, differences

RULE = (
    "interval on one side and Holm over the method's claims; intervals within the metric's bounds; three seeds or more; no "
    "interval without spread; Nadeau and Bengio's factor where every seed has a split of its own; no verdict on unequal terms"
)


def judged(
    content: Mapping[str, Any],
    plan: Plan,
    earlier: tuple[str, ...] = (),
    reasons: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Evidence with intervals, p-values and verdicts made anew from its raw figures.

    Args:
        content: as stored. plan: the case's, for which arms' splits hang on the seed. earlier: what the case tells of its
            earlier versions. reasons: claim -> why its arms may be compared though not all are tuned.
    """
    options = {entry.name: entry.recipe.data_options for entry in plan.entries}
    arms = {
        name: {**arm, "overlap": overlap_of(options[name]) if name in options else arm.get("overlap", 0.0)}
        for name, arm in content["arms"].items()
    }
    metrics = content["metrics"]
    return {
        **content,
        "claims": claims(
            [{**c, "unequal": (reasons or {}).get(c["text"], "")} for c in content["claims"]], arms
        ),
        "arms": {name: {**arm, "metrics": arm_figures(arm, metrics)} for name, arm in arms.items()},
        "differences": {m: differences(arms, m, content["baseline"]) for m in metrics},
        "earlier": list(earlier),
    }


def rejudge(
    path: Path, plan: Plan, earlier: tuple[str, ...] = (), reasons: Mapping[str, str] | None = None
) -> list[str]:
    """Judge a file again and write it with its new hash; a file that says the same already stays as it is.

    Returns:
        The claims whose verdict changed, as sentences.

    Raises:
        CounterpointError: the file is not as it was written.
    """
    old = check_evidence(path)
    new = judged(old, plan, earlier, reasons)
    if raw(new) != raw(old):  # a fault of this module, never of a file's
        raise AssertionError(f"judging {path} again changed a raw figure")
    changed = []
    for before, after in zip(old["claims"], new["claims"], strict=True):
        a, b = (_verdict(claim) for claim in (before, after))
        if a != b:
            changed.append(f"{after['text']}: {a} -> {b}")
    rest = ("sha256", "rejudged")
    plain = {name: value for name, value in json.loads(json.dumps(new)).items() if name not in rest}
    if plain != {name: value for name, value in old.items() if name not in rest}:
        done = {
            "on": datetime.now(UTC).strftime("%Y-%m-%d"),
            "rule": RULE,
            "from_sha256": old["sha256"],
            "changed": changed,
        }
        write_evidence(path, {**new, "rejudged": [*old.get("rejudged", []), done]})
    return changed


def raw(content: Mapping[str, Any]) -> str:
    """Digest of what was measured: every run's figures, cost and spending, the data, the settings and the tuning."""
    names = ("key", "settings", "budget", "data", "data_fingerprint", "tuning", "runs")
    arms = {name: {n: arm.get(n) for n in names} for name, arm in content["arms"].items()}
    claims = [{n: c[n] for n in ("text", "metric", "contrast", "above")} for c in content["claims"]]
    rest = {
        n: content.get(n) for n in ("key", "data", "seeds", "budget", "environment", "finished", "before")
    }
    return digest({"arms": arms, "claims": claims, **rest})


def _verdict(claim: Mapping[str, Any]) -> str:
    return "the opposite" if claim["opposite"] else str(claim["verdict"])
