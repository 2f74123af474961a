"""What a distilled set teaches (KRR-ST, arXiv 2310.06511): a ridge regression on it, judged on real images in closed form.

    F = [features, 1],   K_ss = F_s F_s^T,   K_ts = F_t F_s^T,   lambda = r trace(K_ss)
    l_i = mean_k (K_ts (K_ss + lambda I)^{-1} Y_s - Y_t)_ik^2

F_t, Y_t and lambda are constants, so that gradients reach the targets Y_s, and the images through F_s. With a fixed feature
extractor it is the exact solution of the inner problem of the paper. M distilled rows, B real rows, D features, K targets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.ridge import ridge_coefficients


def ridge_head(features_MD: Tensor, targets_MK: Tensor, relative: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Fit a linear head with a bias; solved in double precision, on the smaller side of the matrix.

    Args:
        features_MD, targets_MK: the distilled set's; both carry gradients.
        relative: r, the ridge as a share of the Gram matrix's trace (the ones of the bias included).

    Returns:
        W [D + 1, K], the bias last, and lambda, a constant.

    >>> head, _ = ridge_head(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [3.0]]))
    >>> [round(float(each), 3) for each in head]
    [2.0, 1.0]
    """
    wide = with_ones(features_MD.double())
    penalty = relative * (wide.detach() ** 2).sum()
    targets = targets_MK.double()
    if wide.shape[1] < len(wide):
        return ridge_coefficients(wide.T @ wide, wide.T @ targets, penalty), penalty
    return wide.T @ ridge_coefficients(wide @ wide.T, targets, penalty), penalty


def distilled_set_error(
    features_MD: Tensor, targets_MK: Tensor, real_BD: Tensor, real_BK: Tensor, relative: float = 1e-6
) -> Tensor:
    """Return the loss of each real image, [B].

    Args:
        features_MD: of the distilled images, by the same extractor as the real ones'. targets_MK: theirs.
        real_BD, real_BK: features and targets of real images, constants.
        relative: r.

    Raises:
        CounterpointError: widths that differ.

    >>> x, y = torch.eye(2), torch.tensor([[1.0], [2.0]])
    >>> bool((distilled_set_error(x, y, x, y) < 1e-9).all())
    True
    """
    if features_MD.shape[1] != real_BD.shape[1] or targets_MK.shape[1] != real_BK.shape[1]:
        raise CounterpointError(
            f"distilled set of {features_MD.shape[1]} features and {targets_MK.shape[1]} targets, real images of {real_BD.shape[1]} and "
            f"{real_BK.shape[1]}; expected the same widths"
        )
    head, _ = ridge_head(features_MD, targets_MK, relative)
    predicted = with_ones(real_BD.detach().double()) @ head
    return ((predicted - real_BK.detach().double()) ** 2).mean(1).to(targets_MK.dtype)


def with_ones(features_ND: Tensor) -> Tensor:
    """[N, D] -> [N, D + 1], a column of ones for the bias at the end."""
    return torch.cat([features_ND, torch.ones_like(features_ND[:, :1])], 1)
