"""Scaling curves of a share that rises with compute: R_C = R_0 + (A - R_0) / (1 + (C_mid / C)^B) (2604.20209, section 4.1).

R_0 is the first point and stays as it is; the asymptote A, the midpoint C_mid and the exponent B are fitted by least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Curve:
    """A fitted curve.

    Attributes:
        start: R_0. asymptote: A. middle: C_mid. exponent: B. error: root mean square of the residuals.
    """

    start: float
    asymptote: float
    middle: float
    exponent: float
    error: float = 0.0

    def __call__(self, generations: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """The curve's value at each amount of compute.

        >>> Curve(50.0, 70.0, 1000.0, 1.0)([1000.0]).tolist()
        [60.0]
        """
        compute = np.asarray(generations, dtype=np.float64)
        rise: NDArray[np.float64] = self.start + (self.asymptote - self.start) / (
            1.0 + (self.middle / compute) ** self.exponent
        )
        return rise


def fit_curve(generations: Sequence[float], shares: Sequence[float], first: float = 0.0) -> Curve:
    """Fit A, C_mid and B.

    Args:
        generations: C, above 0 and rising. shares: R_C, in the same unit as the result (a share or percent).
        first: points below so many generations are left out (the paper's 100,000), but for R_0.

    Raises:
        CounterpointError: fewer than four points, values that are not finite, or compute that does not rise.

    >>> true = Curve(0.2, 0.7, 300.0, 1.5)
    >>> compute = [100.0 * n for n in range(1, 30)]
    >>> fitted = fit_curve(compute, [0.2, *true(compute[1:])])
    >>> round(fitted.asymptote, 2), round(fitted.middle), round(fitted.exponent, 1)
    (0.7, 300, 1.5)
    """
    from scipy.optimize import least_squares

    compute, values = np.asarray(generations, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    if (
        compute.shape != values.shape
        or compute.ndim != 1
        or not (np.isfinite(compute).all() and np.isfinite(values).all())
    ):
        raise CounterpointError(
            f"{len(generations)} amounts of compute and {len(shares)} shares; expected as many of each, all finite"
        )
    if len(compute) < 4 or compute[0] <= 0 or not (np.diff(compute) > 0).all():
        raise CounterpointError(
            f"{len(compute)} points; a curve of three unknowns needs four or more, with compute that rises from above 0"
        )
    start = float(values[0])
    rest = compute >= first
    rest[0] = False
    if rest.sum() < 3:
        raise CounterpointError(
            f"first={first} leaves {int(rest.sum())} points after the start; expected 3 or more"
        )
    scale = max(float(np.ptp(values)), 1e-9)
    xs, ys = np.log(compute[rest]), (values[rest] - start) / scale

    def residuals(unknown: NDArray[np.float64]) -> NDArray[np.float64]:
        rise, middle, exponent = unknown
        return rise / (1.0 + np.exp(np.clip(exponent * (middle - xs), -60.0, 60.0))) - ys

    bounds = ([0.0, xs[0] - 12.0, 0.05], [100.0, xs[-1] + 12.0, 20.0])
    tries = [
        least_squares(residuals, [max(ys[-1], 0.1) * 1.1, middle, exponent], bounds=bounds)
        for middle in np.quantile(xs, (0.1, 0.5, 0.9))
        for exponent in (0.6, 2.0)
    ]
    best = min(tries, key=lambda each: each.cost)
    rise, middle, exponent = (float(each) for each in best.x)
    error = scale * float(np.sqrt(np.mean(best.fun**2)))
    return Curve(start, start + scale * rise, float(np.exp(middle)), exponent, error)
