"""Contrast of a student with its own moving average, MoCo v3's form (arXiv 2104.02057, alg. 1), as DDAE++ uses it (2505.10999).

    ctr(q, k) = 2 tau * ( -log e^{q_i k_i / tau} / sum_j e^{q_i k_j / tau} ),   loss = ctr(q1, k2) + ctr(q2, k1)

Queries and keys of length 1; the sum goes over all ranks' keys, the own one included. Shapes: n local rows, N of all ranks, D.
"""

from __future__ import annotations

from torch import Tensor

from counterpoint.objectives.contrast.infonce import info_nce, require_same_shape


def momentum_contrast(
    first: Tensor,
    second: Tensor,
    first_keys: Tensor,
    second_keys: Tensor,
    *,
    temperature: float = 0.2,
    offset: int = 0,
) -> Tensor:
    """Each view's query finds the other view's key.

    Args:
        first, second: [n, D] the student's predictions of two views.
        first_keys, second_keys: [N, D] the teacher's projections of the views of all ranks; constants.
        temperature: tau.
        offset: where the local rows lie among the keys.

    Returns:
        [n].

    Raises:
        CounterpointError: shapes that do not fit.

    >>> import torch
    >>> z = torch.eye(2)
    >>> momentum_contrast(z, z, z, z, temperature=1.0)[0].item() / 4     # log(e + 1) - 1
    0.31326...
    """
    require_same_shape(first, second)
    require_same_shape(first_keys, second_keys)
    one = info_nce(first, second_keys.detach(), temperature=temperature, offset=offset)
    other = info_nce(second, first_keys.detach(), temperature=temperature, offset=offset)
    return 2 * temperature * (one + other)
