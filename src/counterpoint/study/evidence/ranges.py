"""Between which bounds a metric's figures lie, by its name: an interval never leaves them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

Bounds = tuple[float, float]

SHARES = frozenset(
    ["accuracy", "agreement", "ap", "auc", "coverage", "f1", "hit", "mrr", "ndcg", "precision", "recall", "share", "wins"]
)  # fmt: skip
SCORES = ("text_score", "image_score", "group_score")
"""How names of Winoground's shares end."""
CORRELATIONS = frozenset(["correlation", "cosine", "silhouette"])
ERRORS = frozenset(["frechet", "l1", "mae", "mse", "rmse", "wer"])
COUNTS = frozenset(["flops", "nonzeros", "seconds", "tokens"])


def bounds(metric: str) -> Bounds:
    """The least and the most a metric can be; infinite where nothing is known of it.

    A word of the name decides: shares of something lie in [0, 1], correlations in [-1, 1]. A name that says a difference
    ("less", "minus") is none of them.

    >>> bounds("reply_tokens")
    (0.0, inf)
    >>> bounds("probe_accuracy"), bounds("ndcg@20"), bounds("rank_correlation"), bounds("return")
    ((0.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (-inf, inf))
    >>> bounds("agreement@1"), bounds("rank_agreement"), bounds("frechet@4"), bounds("denoiser_group_score")
    ((0.0, 1.0), (-1.0, 1.0), (0.0, inf), (0.0, 1.0))
    """
    words = set(re.split(r"[^a-z0-9]+", metric.lower()))
    if words & {"less", "minus"}:
        return -math.inf, math.inf
    if words & CORRELATIONS or words >= {"rank", "agreement"}:
        return -1.0, 1.0
    if words & SHARES or metric == "calibration_error" or metric.endswith(SCORES):
        return 0.0, 1.0
    if words & ERRORS:
        return 0.0, math.inf
    if words & COUNTS:
        return 0.0, math.inf
    if "perplexity" in words:
        return 1.0, math.inf
    return (-math.inf, 1.0) if metric == "r2" else (-math.inf, math.inf)


def contrast_bounds(metric: str, coefficients: Mapping[str, float]) -> Bounds:
    """The bounds of a weighted sum of a metric's figures.

    >>> contrast_bounds("accuracy", {"a": 1.0, "b": -1.0})
    (-1.0, 1.0)
    """
    low, high = bounds(metric)
    ends = [sorted((weight * low, weight * high)) for weight in coefficients.values() if weight]
    return sum(a for a, _ in ends), sum(b for _, b in ends)
