"""Kernel ridge regression in closed form, and what repeating it on mixtures of targets and own fits does to it.

    f(x) = k(x, X) (K + p I)^{-1} t,      K = V D V^T,   A = D (D + p I)^{-1}

A fit to the mixed target t^(s) = a_s Y + (1 - a_s) y^(s-1), y^(0) = Y, has the fit y^(s) = V B^(s) V^T Y on the training rows with
B^(1) = A and B^(s) = A [(1 - a_s) B^(s-1) + a_s I], all diagonal (arXiv 2102.13088, theorem 3.1 in this notation). N rows,
K targets a row, M rows elsewhere, S steps. The penalty is added as it is, not times N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest


def ridge_coefficients(gram_NN: Tensor, targets_NK: Tensor, penalty: Tensor | float) -> Tensor:
    """Return (K + p I)^{-1} Y, [N, K]; differentiable in the Gram matrix, the targets and the penalty.

    Raises:
        CounterpointError: K + p I is not positive definite.

    >>> ridge_coefficients(torch.eye(2), torch.tensor([[2.0], [4.0]]), 1.0).flatten().tolist()
    [1.0, 2.0]
    """
    ridged = gram_NN + penalty * torch.eye(len(gram_NN), dtype=gram_NN.dtype, device=gram_NN.device)
    factor, failed = torch.linalg.cholesky_ex(ridged)
    if int(failed):
        raise CounterpointError(
            f"a Gram matrix of {len(gram_NN)} rows with penalty {float(penalty):g} is not positive definite; expected a positive "
            "semi-definite kernel of finite values and a penalty that its precision can tell from 0: raise the penalty"
        )
    return torch.cholesky_solve(targets_NK, factor)


@dataclass(frozen=True)
class Spectrum:
    """A Gram matrix in its eigenbasis, eigenvalues [N] from the largest to the smallest and at least 0, vectors [N, N] in columns."""

    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, gram_NN: Tensor) -> Spectrum:
        """Decompose a symmetric matrix.

        Raises:
            CounterpointError: values that are not finite.
        """
        if not torch.isfinite(gram_NN).all():
            raise CounterpointError(
                "the Gram matrix holds values that are not finite; scale the inputs, or choose another kernel"
            )
        values, vectors = torch.linalg.eigh((gram_NN + gram_NN.T) / 2)
        return cls(values.flip(0).clamp(min=0), vectors.flip(1))

    def shrinkage(self, penalty: float) -> Tensor:
        """A = D / (D + p), [N] in [0, 1): how much of each direction one fit keeps.

        >>> Spectrum.of(torch.diag(torch.tensor([1.0, 3.0]))).shrinkage(1.0).tolist()
        [0.75, 0.5]
        """
        if not penalty > 0:
            raise CounterpointError(f"penalty={penalty}; expected a number above 0, for example penalty=1.0")
        return self.values / (self.values + penalty)

    def fitted(self, damping_N: Tensor, targets_NK: Tensor) -> Tensor:
        """V B V^T Y, [N, K]: the fit on the training rows."""
        return self.vectors @ (damping_N[:, None] * (self.vectors.T @ targets_NK))

    def coefficients(self, mixed_N: Tensor, targets_NK: Tensor, penalty: float) -> Tensor:
        """(K + p I)^{-1} t, [N, K], of a mixed target t = V M V^T Y given by the diagonal M."""
        return self.fitted(mixed_N / (self.values + penalty), targets_NK)


def mixture(previous_N: Tensor, weight: float) -> Tensor:
    """M = (1 - a) B^(s-1) + a I, [N]: the target of a step in the eigenbasis."""
    return (1 - weight) * previous_N + weight


def damping(shrinkage_N: Tensor, weights: Sequence[float]) -> Tensor:
    """B^(1), ..., B^(S), [S, N], of steps with these weights on the true targets; the first is without effect.

    >>> damping(torch.tensor([0.5], dtype=torch.double), [1.0, 0.0, 1.0]).flatten().tolist()
    [0.5, 0.25, 0.5]
    """
    steps: list[Tensor] = []
    for weight in weights:
        steps.append(shrinkage_N * mixture(steps[-1], weight) if steps else shrinkage_N)
    return torch.stack(steps)


def damping_at(shrinkage_N: Tensor, weights: Sequence[float]) -> Tensor:
    """B^(S), [N], of the last of S steps without those before it: the recursion unrolled.

    B^(S) = prod_{s=2..S} (1 - a_s) A^S + sum_{s=2..S} a_s prod_{r=s+1..S} (1 - a_r) A^{S-s+1}

    >>> damping_at(torch.tensor([0.5], dtype=torch.double), [1.0, 0.0, 1.0]).tolist()
    [0.5]
    """
    steps, left = len(weights), 1.0
    total = torch.zeros_like(shrinkage_N)
    for step in range(steps, 1, -1):
        total = total + weights[step - 1] * left * shrinkage_N ** (steps - step + 1)
        left *= 1 - weights[step - 1]
    return total + left * shrinkage_N**steps


def limit_penalty(penalty: float, weight: float) -> float:
    """p / a: the penalty of the plain ridge regression that steps of constant weight a tend to; infinite for a = 0.

    >>> limit_penalty(0.2, 0.5), limit_penalty(0.2, 0.0)
    (0.4, inf)
    """
    return penalty / weight if weight > 0 else float("inf")


def sparsification(damping_SN: Tensor) -> Tensor:
    """R_k = B_k / B_{k+1} at least 1, [S, N - 1]: how far a direction stands out from the next; infinite where the next is 0."""
    after = damping_SN[..., 1:]
    return torch.where(
        after > 0, damping_SN[..., :-1] / after.clamp(min=torch.finfo(after.dtype).tiny), torch.inf
    )


def best_weight(guided: Tensor, alone: Tensor, targets: Tensor) -> float | None:
    """The a that minimises ||a g + (1 - a) o - Y||^2 over held-out rows; it may lie outside [0, 1].

    a* = 1 - <g - Y, g - o> / ||g - o||^2

    Args:
        guided: g [M, K], predictions of the model fitted to the true targets.
        alone: o [M, K], of the model fitted to the previous step's fit alone.
        targets: Y [M, K].

    Returns:
        The weight; None where both predict the same, so that any does.

    >>> one, nothing = torch.ones(3, 1), torch.zeros(3, 1)
    >>> best_weight(one, nothing, torch.full((3, 1), 0.25)), best_weight(one, one, nothing)
    (0.25, None)
    """
    apart = guided - alone
    size = float((apart * apart).sum())
    return 1 - float(((guided - targets) * apart).sum()) / size if size > 0 else None


def kernel_rows(name: str, rows_MF: Tensor, support_NF: Tensor, gamma: float) -> Tensor:
    """k(x, X), [M, N], by a kernel's name: rbf exp(-g |x - x'|^2), laplacian exp(-g |x - x'|_1), cosine or linear.

    Raises:
        CounterpointError: another name.

    >>> kernel_rows("rbf", torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [1.0, 0.0]]), 1.0)[0, 0].item()
    1.0
    """
    if name == "linear":
        return rows_MF @ support_NF.T
    if name == "cosine":
        return (
            torch.nn.functional.normalize(rows_MF, dim=1) @ torch.nn.functional.normalize(support_NF, dim=1).T
        )
    if name == "laplacian":
        return torch.exp(-gamma * torch.cdist(rows_MF, support_NF, p=1))
    if name != "rbf":
        raise CounterpointError(f"kernel={name!r}; {nearest(name, ['rbf', 'laplacian', 'cosine', 'linear'])}")
    exact = torch.cdist(rows_MF, support_NF, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.exp(-gamma * exact**2)
