"""Weighted nearest-neighbour classification on frozen features (Wu et al., arXiv 1805.01978): no training, no setting
to tune in practice, quick enough to watch a run with. N bank rows, Q queries, D width, K neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot


def knn_predict(
    bank: Tensor, labels: Tensor, queries: Tensor, k: int = 20, temperature: float = 0.07, piece: int = 1024
) -> Tensor:
    """Vote of the ``k`` most similar bank rows by cosine, each with weight ``exp(cosine / temperature)``.

    Args:
        bank: [N, D], with ``labels`` [N] from 0.
        queries: [Q, D].
        k: neighbours; fewer are used when the bank is smaller.
        piece: queries at a time, so that no Q x N matrix is held.

    Returns:
        [Q] predicted labels.

    >>> knn_predict(torch.eye(2), torch.tensor([0, 1]), torch.tensor([[0.9, 0.1], [0.0, 3.0]]), k=1).tolist()
    [0, 1]
    """
    bank, queries = normalize(bank, dim=1), normalize(queries, dim=1)
    classes = int(labels.max()) + 1
    predicted = []
    for part in queries.split(piece):
        cosine, neighbour = (part @ bank.T).topk(min(k, len(bank)), dim=1)
        # Subtracting the best cosine keeps exp in range and changes no vote.
        weight = ((cosine - cosine[:, :1]) / temperature).exp()
        predicted.append((one_hot(labels[neighbour], classes) * weight[..., None]).sum(1).argmax(1))
    return torch.cat(predicted)


def knn_accuracy(
    bank: Tensor, labels: Tensor, queries: Tensor, truth: Tensor, k: int = 20, temperature: float = 0.07
) -> float:
    """Share of ``queries`` whose vote equals ``truth`` [Q]; arguments as in ``knn_predict``."""
    return float((knn_predict(bank, labels, queries, k, temperature) == truth).double().mean())
