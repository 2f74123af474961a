"""How near drawn pictures are to real ones, on features of whatever network: Frechet distance, precision and recall.

The network decides what a figure means. These are no ImageNet FID unless the features are that Inception network's, and figures
by different networks, or on different numbers of pictures, cannot be compared. Shapes: N real and M drawn pictures, F features.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from counterpoint.errors import CounterpointError

NEIGHBOURS = 3


def frechet_distance(real_NF: np.ndarray, drawn_MF: np.ndarray) -> float:
    """||m - m'||^2 + tr(C + C' - 2 (C C')^(1/2)) of means and covariances (arXiv 1706.08500, eq. 6).

    Raises:
        CounterpointError: fewer than two pictures on a side.

    >>> points = np.array([[0.0], [2.0]])
    >>> frechet_distance(points, points + 3.0)
    9.0
    """
    if min(len(real_NF), len(drawn_MF)) < 2:
        raise CounterpointError(
            f"a Frechet distance between {len(real_NF)} real and {len(drawn_MF)} drawn pictures; expected at least 2 of each, and "
            "hundreds for figures that mean anything"
        )
    real, drawn = np.asarray(real_NF, np.float64), np.asarray(drawn_MF, np.float64)
    c1, c2 = np.atleast_2d(np.cov(real, rowvar=False)), np.atleast_2d(np.cov(drawn, rowvar=False))
    # tr (C C')^(1/2) by the symmetric C^(1/2) C' C^(1/2), whose eigenvalues are real whatever the ranks are
    values, vectors = eigh(c1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(eigh(root @ c2 @ root, eigvals_only=True), 0, None)).sum()
    apart = real.mean(0) - drawn.mean(0)
    return float(max(apart @ apart + np.trace(c1) + np.trace(c2) - 2 * shared, 0.0))


def precision_recall(
    real_NF: np.ndarray, drawn_MF: np.ndarray, neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Which share of drawn pictures lies among the real ones, and of real ones among the drawn (arXiv 1904.06991, eq. 1-2).

    A set covers the balls around its pictures whose radius is the distance to the k-th neighbour in the set.

    >>> points = np.arange(10.0)[:, None]
    >>> precision_recall(points, points[:5], neighbours=1)
    (1.0, 0.6)
    """
    across = cdist(real_NF, drawn_MF)

    def radii(points: np.ndarray) -> np.ndarray:
        count = min(neighbours, len(points) - 1)
        return np.sort(cdist(points, points), axis=1)[:, count]  # the first is the picture itself

    covered_by_real = (across <= radii(real_NF)[:, None]).any(0)
    covered_by_drawn = (across <= radii(drawn_MF)[None, :]).any(1)
    return float(covered_by_real.mean()), float(covered_by_drawn.mean())
