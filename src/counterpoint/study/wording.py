"""Figures and findings in words, the same in the terminal, the report and the evidence pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from counterpoint.study.statistics import FEWEST, LEVEL


def number(value: float | None) -> str:
    """A figure with four significant digits; a dash where there is none.

    >>> number(0.91237), number(None), number(1234.5), number(-2.0)
    ('0.9124', '–', '1,234', '−2.000')
    """
    if value is None or math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    if value < 0:
        return "−" + number(-value)
    size = value
    if size >= 1000:
        return f"{value:,.0f}"
    if size < 1e-4:
        return f"{value:.1e}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(size)))}f}" if size >= 1 else f"{value:.4f}"


def duration(seconds: float) -> str:
    """Seconds, with as many digits as a short run needs.

    >>> duration(0.034), duration(12.34)
    ('0.03', '12.3')
    """
    return f"{seconds:.2f}" if seconds < 1 else f"{seconds:,.1f}"


def signed(value: float | None) -> str:
    """A difference, with its sign.

    >>> signed(0.012), signed(-3.0)
    ('+0.0120', '−3.000')
    """
    if value is None or math.isnan(value):
        return "–"
    return ("+" if value >= 0 else "−") + number(abs(value))


def interval(estimate: Mapping[str, Any], plus: bool = False) -> str:
    """The 95 % interval of an estimate; a dash where there is none."""
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return "–"
    show = signed if plus else number
    return f"{show(low)} to {show(high)}"


def only_before(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Why some figures are there before training only: they were measured in a way that the trained model's were not."""
    names = ", ".join(name for name in before if name not in after)
    return f"{names}: measured before training only, for the untrained model has no head of its own; not to be compared"


def won(difference: Mapping[str, Any], lower_is_better: bool = False) -> str:
    """In how many seeds a difference is on the better side.

    >>> won({"values": [0.1, 0.0, -0.2]})
    '1 of 3 seeds, 1 equal'
    """
    sign = -1 if lower_is_better else 1
    values = [value for value in difference["values"] if value is not None]
    ties = sum(value == 0 for value in values)
    count = sum(sign * value > 0 for value in values)
    return f"{count} of {len(values)} seeds" + (f", {ties} equal" if ties else "")


def sentence(arm: str, baseline: str, difference: Mapping[str, Any], lower_is_better: bool = False) -> str:
    """What a paired difference says, and what it does not."""
    n, mean = difference["n"], difference["mean"]
    if mean is None or math.isnan(mean):
        return f"{arm} against {baseline}: a figure could not be computed, so there is nothing to compare."
    if difference.get("unequal"):
        return f"{arm} against {baseline}: {signed(mean)}. No verdict: {difference['unequal']}."
    if difference["low"] is None and n == 1:
        return f"{arm} against {baseline}: {signed(mean)} with 1 seed, which cannot say how sure that is."
    if difference["low"] is None:
        return f"{arm} against {baseline}: {signed(mean)} in each of {n} seeds. Without any spread nothing is known about other seeds."
    span = f"{signed(mean)} (95% interval {interval(difference, plus=True)}; better in {won(difference, lower_is_better)})"
    if n < FEWEST:
        return f"{arm} against {baseline}: {span}. {n} seeds are too few for a verdict; give {FEWEST} or more, 5 is usual."
    if difference["low"] <= 0 <= difference["high"]:
        return f"{arm} against {baseline}: {span}. The interval includes zero: no difference is shown."
    corrected = difference.get("p_holm")
    if difference["verdict"] == "unclear" or (corrected is not None and corrected > LEVEL):
        return f"{arm} against {baseline}: {span}. Corrected for the number of comparisons it could be chance: no difference is shown."
    better = (difference["verdict"] == "above") != lower_is_better
    few = " Few seeds: more would make this firmer." if n < 5 else ""
    return f"{arm} is {'better' if better else 'worse'} than {baseline}: {span}.{few}"


def claim_sentence(claim: Mapping[str, Any]) -> str:
    """What the seeds say of a paper's claim."""
    bound = f", claimed to exceed {number(claim['above'])}" if claim["above"] else ""
    if claim["mean"] is None:
        return f"{claim['metric']}: a figure could not be computed"
    if claim["low"] is None:
        return (
            f"{claim['metric']} {signed(claim['mean'])} in {claim['n']} seeds, which give no interval{bound}"
        )
    span = f"{claim['metric']} {signed(claim['mean'])}, 95% interval {interval(claim, plus=True)}{bound}, {claim['n']} seeds"
    chance = claim.get("p_holm")
    if (
        claim["verdict"] != "shown"
        and not claim["opposite"]
        and not claim["low"] <= claim["above"] <= claim["high"]
    ):
        span += (
            "; corrected for the number of claims it could be chance"
            if chance is not None and chance > LEVEL
            else ""
        )
    return span + ("; the seeds say the opposite" if claim["opposite"] else "")
