"""Figures that a study cannot do without: seen as soon as they can be, not when the last run has ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.study.case import Claim


def needs_of(claims: Iterable[Claim]) -> dict[str, list[str]]:
    """Arm -> metrics that claims compare it by; a claim without a metric goes by the primary one, which every arm has.

    >>> needs_of([Claim.better("it learns more", "dpo", "sft", metric="quality"), Claim.better("so it does", "dpo", "sft")])
    {'dpo': ['quality'], 'sft': ['quality']}
    """
    needs: dict[str, list[str]] = {}
    for claim in claims:
        for arm in claim.contrast if claim.metric is not None else ():
            metrics = needs.setdefault(arm, [])
            if claim.metric is not None and claim.metric not in metrics:
                metrics.append(claim.metric)
    return needs


def require_figures(arm: str, needed: Iterable[str], figures: Mapping[str, Any]) -> None:
    """See that an arm's first run has the figures that claims compare it by.

    Raises:
        CounterpointError: one is missing; names those there are.
    """
    for metric in needed:
        if metric not in figures:
            raise CounterpointError(
                f"a claim compares arm '{arm}' by '{metric}', which its run was not measured by; measured: {', '.join(figures)}; "
                "claim one of these, or measure it: Case(..., measure=...)"
            )


def require_some(wanted: Iterable[str], runs: Iterable[Mapping[str, Any]]) -> None:
    """See that each metric that was asked for is one of some run's.

    Raises:
        CounterpointError: no run has it; names those there are.
    """
    there = sorted(set().union(*runs))
    missing = [name for name in wanted if name not in there]
    if missing:
        raise CounterpointError(f"metric '{missing[0]}' was measured of no arm; measured: {', '.join(there)}")
