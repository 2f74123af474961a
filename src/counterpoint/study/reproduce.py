"""Runs a reproduction case as a study and writes its evidence, which nobody edits: its own hash is inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method
from counterpoint.study.case import Arm, Case, Claim
from counterpoint.study.compare import compare
from counterpoint.study.evidence.needs import needs_of, require_figures
from counterpoint.study.evidence.provenance import source_of
from counterpoint.study.files import read_object, read_sealed, write_json, write_sealed
from counterpoint.study.plan import Entry, Plan, claim_study, require_equal_tuning
from counterpoint.study.recipe import plain, recipe_of
from counterpoint.study.verdicts import claims
from counterpoint.tasks.task import task

if TYPE_CHECKING:
    from rich.progress import Progress

    from counterpoint.study.executors.cluster import Ray

__all__ = ["Arm", "Case", "Claim", "check_evidence", "plan_of", "reproduce", "write_evidence"]

SOURCE = "source.json"


def plan_of(
    case: Case,
    build: Callable[[str, Mapping[str, Any]], Method[Any, Any]],
    kind: str,
    *,
    titles: Mapping[str, str] | None = None,
) -> Plan:
    """The study that a case asks for.

    Args:
        build: makes a method from its key and settings. kind: the kind of data, where the case names none.
        titles: method key -> one line for tables.
    """
    kind = case.kind or kind
    measure = None if case.measure is None else f"{case.measure.__module__}:{case.measure.__qualname__}"
    unknown = {name for claim in case.claims for name in claim.contrast} - set(case.arms)
    if unknown:
        raise CounterpointError(
            f"the case of {case.key} claims something of '{min(unknown)}', which is no arm of it"
        )
    entries = []
    for name in case.arms:
        arm = case.arm(name)
        method = build(arm.method, arm.settings)
        ranges = usable(method.search, arm.settings) if arm.tune is None else listed(arm.tune)
        recipe = recipe_of(
            method,
            kind,
            data=arm.data or case.data,
            data_options=dict(case.data_options if arm.data_options is None else arm.data_options),
            model=arm.model or case.model or task(kind).default_model,
            budget=dict(arm.budget or case.budget),
            measure=measure,
            reply_tokens=case.reply_tokens,
        )
        entries.append(
            Entry(
                name=name,
                recipe=recipe,
                tune=ranges,
                title=(titles or {}).get(arm.method, ""),
                baseline=name == case.baseline,
            )
        )
    if case.trials:
        for claim in case.claims:
            _require_equal(claim, {entry.name: entry for entry in entries})
    return Plan(
        what="reproduce",
        entries=entries,
        seeds=case.seeds,
        trials=case.trials,
        tune_by=case.tune_by,
        tuning_seeds=case.tuning_seeds,
        baseline=case.baseline,
        metrics=case.metrics,
        needs=needs_of(case.claims),
        keep="none",
        title=case.key,
    )


def usable(ranges: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """A method's own ranges without the settings that are fixed."""
    return listed({name: given for name, given in ranges.items() if name not in fixed})


def listed(ranges: Mapping[str, Any]) -> dict[str, Any]:
    """Ranges with their choices as plain data."""
    return {name: given if isinstance(given, tuple) else plain(list(given)) for name, given in ranges.items()}


def _require_equal(claim: Claim, entries: Mapping[str, Entry]) -> None:
    """See that the arms of a claim are tuned alike: all or none, on as large a share for validation.

    Raises:
        CounterpointError: they are not, and the claim does not say why that is right.
    """
    arms = [entries[name] for name, weight in claim.contrast.items() if weight]
    tuned = [entry for entry in arms if entry.tune]
    if tuned and len(tuned) < len(arms) and not claim.unequal:
        bare = next(entry.name for entry in arms if not entry.tune)
        raise CounterpointError(
            f"claim '{claim.text}' sets '{tuned[0].name}', which is tuned, against '{bare}', which is not; tune both, or say why "
            "it is fair: Claim(..., unequal=...)"
        )
    shares: dict[str, dict[str, Any]] = {}
    for entry in tuned:
        options = entry.recipe.data_options
        shares.setdefault(entry.recipe.data, {})[entry.name] = options.get("validation")
    for data, by_arm in shares.items():
        if len(set(by_arm.values())) > 1 and not claim.unequal:
            raise CounterpointError(
                f"claim '{claim.text}': its arms on {data} are tuned on different shares for validation ({by_arm}); give all the same"
            )


def reproduce(
    case: Case,
    plan: Plan,
    out: Path,
    *,
    source: Path | None = None,
    jobs: int | Ray = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a case, or what is left of it, and return its evidence (without writing it).

    Args:
        source: the case's file; its hash and the commit are taken down before the first run, and go into the evidence.
    """
    if source is not None and not (out / SOURCE).exists():
        require_equal_tuning(plan)
        claim_study(out, plan)
        write_sealed(out / SOURCE, source_of(source))
    result = evidence(case, compare(plan, out, jobs=jobs, progress=progress))
    if source is not None:
        result["source"] = {
            "begun": read_sealed(out / SOURCE, "commit", "case_sha256"),
            "judged": source_of(source),
        }
    return result


def evidence(case: Case, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a finished study says about a case's claims."""
    for arm, needed in needs_of(case.claims).items():
        for run in summary["arms"][arm]["runs"]:
            require_figures(arm, needed, run["metrics"])
    names = (
        "kind",
        "primary",
        "metrics",
        "lower_is_better",
        "model",
        "budget",
        "seeds",
        "trials",
        "tune_by",
        "tuning_seed",
        "tuning_seeds",
        "data",
    )
    return plain(
        {
            "key": case.key,
            **{name: summary[name] for name in names},
            "baseline": case.baseline,
            "claims": claims([_claim_entry(claim, summary) for claim in case.claims], summary["arms"]),
            "arms": {name: _lean(arm) for name, arm in summary["arms"].items()},
            "differences": summary["differences"],
            "before": summary["before"],
            "notes": list(case.notes),
            "earlier": list(case.earlier),
            "environment": summary["environment"],
            "finished": summary["finished"],
        }
    )


def _claim_entry(claim: Claim, summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "text": claim.text,
        "contrast": dict(claim.contrast),
        "metric": claim.metric or summary["primary"],
        "above": claim.above,
        "unequal": claim.unequal,
    }


def _lean(arm: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: value for name, value in arm.items() if name != "runs"},
        "runs": [{name: run[name] for name in ("seed", "metrics", "cost", "spent")} for run in arm["runs"]],
    }


def digest(content: Mapping[str, Any]) -> str:
    """Sha256 of evidence without its own hash, in canonical JSON."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def write_evidence(path: Path, content: Mapping[str, Any]) -> None:
    """Write evidence with its hash. Figures that are no numbers become null before it is taken."""
    from counterpoint.study.files import finite

    clean = finite(dict(content))
    write_json(path, {**clean, "sha256": digest(clean)})


def check_evidence(path: Path) -> dict[str, Any]:
    """Read evidence and see that it is as it was written.

    Raises:
        CounterpointError: a figure was changed by hand, or the file is damaged.
    """
    content = read_object(path)
    if digest(content) != content.get("sha256"):
        raise CounterpointError(
            f"{path} is not what a reproduction wrote: its hash does not fit its content; run "
            f"counterpoint reproduce {content.get('key', 'KEY')} again"
        )
    return content
