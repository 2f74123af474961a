"""How sure: means, paired differences and their intervals over seeds. Plain numbers in, plain numbers out.

A run's seed decides initial weights, order and noise of every method alike, so figures of the same seed form a pair and
differences are taken seed by seed. With few seeds the Student interval is the one to read; the bootstrap is beside it as a
check that does not assume a shape, and is known to be too narrow below about eight seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % intervals (None with fewer than two seeds).

    Attributes:
        mean, sd, n: of the values; ``sd`` is 0 for one value.
        low, high: Student interval of the mean.
        boot_low, boot_high: percentile bootstrap interval of the mean.
        above_zero: share of values above zero, ties counted half: for differences, the share of seeds won.
        probability: posterior probability that the true mean is above zero (Student, flat prior).
        p: two-sided p-value of a zero mean.
    """

    mean: float
    sd: float
    n: int
    low: float | None
    high: float | None
    boot_low: float | None
    boot_high: float | None
    above_zero: float
    probability: float | None
    p: float | None

    @property
    def verdict(self) -> str:
        """``above``, ``below`` or ``unclear``: on which side of zero the whole interval lies."""
        if self.low is None or self.high is None:
            return "unclear"
        return "above" if self.low > 0 else "below" if self.high < 0 else "unclear"


def estimate(values: Sequence[float], *, level: float = 0.95, resamples: int = 10_000) -> Estimate:
    """Mean of ``values`` with its intervals.

    >>> e = estimate([1.0, 2.0, 3.0])
    >>> round(e.mean, 3), round(e.low, 3), round(e.high, 3)
    (2.0, -0.484, 4.484)
    >>> estimate([1.0]).low is None
    True
    """
    x = np.asarray(list(values), dtype=np.float64)
    n = len(x)
    if n == 0:
        raise ValueError("no values: an estimate needs at least one finished run")
    mean = float(x.mean())
    won = float(((x > 0) + 0.5 * (x == 0)).mean())
    if n < 2 or not np.isfinite(x).all():
        return Estimate(mean, 0.0, n, None, None, None, None, won, None, None)
    from scipy.stats import t as student

    sd = float(x.std(ddof=1))
    half = float(student.ppf(0.5 + level / 2, n - 1)) * sd / math.sqrt(n)
    boot_low, boot_high = _bootstrap(x, level, resamples)
    if sd == 0:  # every seed the same: the interval has no width and says nothing about other seeds
        probability = 0.5 if mean == 0 else float(mean > 0)
        p = 1.0 if mean == 0 else 0.0
    else:
        ratio = mean / (sd / math.sqrt(n))
        probability = float(student.cdf(ratio, n - 1))
        p = float(2 * student.sf(abs(ratio), n - 1))
    return Estimate(mean, sd, n, mean - half, mean + half, boot_low, boot_high, won, probability, p)


def _bootstrap(x: np.ndarray, level: float, resamples: int) -> tuple[float, float]:
    """Percentile interval of the mean; the same draws on every call, so that a report can be reproduced."""
    draws = np.random.default_rng(0).integers(0, len(x), size=(resamples, len(x)))
    tail = (1 - level) / 2
    low, high = np.quantile(x[draws].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def contrast(figures: Mapping[str, Mapping[int, float]], coefficients: Mapping[str, float]) -> list[float]:
    """Per-seed values of a weighted sum of arms, over the seeds that every arm has.

    Args:
        figures: arm -> seed -> figure.
        coefficients: arm -> weight.

    >>> contrast({"a": {0: 3.0, 1: 5.0}, "b": {0: 1.0, 1: 2.0, 2: 9.0}}, {"a": 1, "b": -1})
    [2.0, 3.0]
    """
    shared = set.intersection(*(set(figures[arm]) for arm in coefficients))
    return [
        sum(weight * figures[arm][seed] for arm, weight in coefficients.items()) for seed in sorted(shared)
    ]


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction of several p-values: the chance of even one false finding stays below the level.

    >>> holm({"a": 0.01, "b": 0.04})
    {'a': 0.02, 'b': 0.04}
    """
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = running
    return adjusted
