"""The variational autoencoder's bound (arXiv 1312.6114, eq. 10), per item.

Legend: B items, M numbers of an item, D latent dimensions.
"""

from __future__ import annotations

from torch import Tensor


def gaussian_kl(mean_BD: Tensor, log_variance_BD: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) summed over dimensions, [B].

    >>> import torch
    >>> gaussian_kl(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    tensor([0.5000])
    """
    return 0.5 * (mean_BD.square() + log_variance_BD.exp() - 1 - log_variance_BD).sum(-1)


def squared_error(x_BM: Tensor, reconstruction_BM: Tensor) -> Tensor:
    """Half the squared error summed over numbers, [B]: a unit-variance Gaussian's negative log-likelihood, up to a constant."""
    return 0.5 * (x_BM - reconstruction_BM).square().sum(-1)
