"""How sure: means, paired differences and their intervals over seeds. Plain numbers in, plain numbers out.

A run's seed decides initial weights, order and noise of every method alike, so figures of the same seed form a pair and
differences are taken seed by seed. With few seeds the Student interval is the one to read; the bootstrap is beside it as a
check that does not assume a shape, and is known to be too narrow below about eight seeds.

Where every seed has a random split of its own, test sets overlap and so do training sets: figures of different seeds are not
independent, and the variance of their mean is more than sd^2 / n. It is then taken as sd^2 (1/n + n_test / n_train) (Nadeau
and Bengio, Inference for the Generalization Error, Machine Learning 52, 2003, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 3
"""Seeds below which no verdict is given: with two, an interval's width is one difference, and says next to nothing."""
LEVEL = 0.05
"""Chance of a false finding that a verdict may have: of one interval, and after Holm's correction of all of a family."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % intervals; None with fewer than two seeds, and where all seeds have the same figure.

    Without any spread nothing is known about other seeds: equal figures come from a setting that no seed moves, or from a
    measure too coarse to show how they differ.

    Attributes:
        mean, sd, n: of the values; ``sd`` is 0 for one value.
        low, high: Student interval of the mean, cut where the figure's range ends.
        boot_low, boot_high: percentile bootstrap interval of the mean; None where splits overlap, which it knows nothing of.
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
        """``above``, ``below`` or ``unclear``: on which side of zero the whole interval lies, with three seeds or more."""
        if self.low is None or self.high is None or self.n < FEWEST:
            return "unclear"
        return "above" if self.low > 0 else "below" if self.high < 0 else "unclear"


def estimate(
    values: Sequence[float],
    *,
    level: float = 1 - LEVEL,
    resamples: int = 10_000,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    overlap: float = 0.0,
) -> Estimate:
    """Mean of ``values`` with its intervals.

    Args:
        values: one per seed. level: of the intervals. resamples: of the bootstrap.
        bounds: the least and the most that a value can be. The true mean lies between them, so an interval may be cut there
            and still covers it as often.
        overlap: n_test / n_train where every seed has a random split of its own, 0 where all have the same.

    >>> e = estimate([1.0, 2.0, 3.0])
    >>> round(e.mean, 3), round(e.low, 3), round(e.high, 3)
    (2.0, -0.484, 4.484)
    >>> estimate([0.97, 0.99, 1.0], bounds=(0, 1)).high
    1.0
    >>> estimate([1.0]).low is None, estimate([1.0, 1.0, 1.0]).low is None
    (True, True)
    """
    x = np.asarray(list(values), dtype=np.float64)
    n = len(x)
    if n == 0:
        raise ValueError("no values: an estimate needs at least one finished run")
    mean = float(x.mean())
    won = float(((x > 0) + 0.5 * (x == 0)).mean())
    if n < 2 or not np.isfinite(x).all():
        return Estimate(mean, 0.0, n, None, None, None, None, won, None, None)
    sd = float(x.std(ddof=1))
    if sd <= 1e-12 * max(1.0, abs(mean)):  # differences that are equal but for rounding have no spread either
        return Estimate(mean, 0.0, n, None, None, None, None, won, None, None)
    from scipy.stats import t as student

    error = sd * math.sqrt(1 / n + overlap)
    half = float(student.ppf(0.5 + level / 2, n - 1)) * error
    boot_low, boot_high = (None, None) if overlap else _bootstrap(x, level, resamples)
    low, high = max(mean - half, float(bounds[0])), min(mean + half, float(bounds[1]))
    probability = float(student.cdf(mean / error, n - 1))
    p = float(2 * student.sf(abs(mean) / error, n - 1))
    return Estimate(mean, sd, n, low, high, boot_low, boot_high, won, probability, p)


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
