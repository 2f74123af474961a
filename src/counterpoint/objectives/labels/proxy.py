"""Proxy losses: rows against one learnable vector (or several) per class instead of against each other.

Shapes: n rows, C classes, K centres per class, D dimensions. Proxies live on every rank, so only proxy-anchor, whose
items are the classes, needs the rows of all ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import CounterpointError
from counterpoint.kernels.similarity import different, same, similarity_logsumexp
from counterpoint.objectives.contrast.infonce import require_negatives
from counterpoint.objectives.in_batch import scale_of, softplus, unit
from counterpoint.objectives.reduction import Loss


def normalized_softmax(
    rows: Tensor,
    labels: Tensor,
    proxies: Tensor,
    *,
    temperature: float | Tensor = 0.05,
    decoupled: bool = False,
    normalize: bool = True,
) -> Tensor:
    """Cross-entropy of the cosines between rows [n, D] and class proxies [C, D] over tau (arXiv 1811.12649).

    Args:
        rows: [n, D].
        labels: [n], indices of proxies.
        proxies: [C, D].
        temperature: tau.
        decoupled: leave the row's own proxy out of the denominator.
        normalize: rows and proxies to length 1 first.

    Returns:
        [n].

    >>> [round(x, 4) for x in normalized_softmax(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), temperature=1.0).tolist()]
    [0.3133, 0.3133]
    """
    _check(rows, labels, proxies)
    if normalize:
        rows, proxies = unit(rows), unit(proxies)
    scale, include = scale_of(temperature), []
    if decoupled:
        require_negatives(len(proxies) - 1)
        include = [different(labels, torch.arange(len(proxies), device=labels.device))]
    against = similarity_logsumexp(rows, proxies, scale=scale, include=include)
    return against - (rows * proxies[labels]).sum(-1) * scale


def proxy_nca(
    rows: Tensor, labels: Tensor, proxies: Tensor, *, softmax_scale: float = 1.0, decoupled: bool = False
) -> Tensor:
    """Proxy-NCA (arXiv 1703.07464, eq. 3): ``-log softmax_c(-sigma ||u - v_c||^2)`` at the row's class.

    On unit vectors that is ``normalized_softmax`` at temperature ``1 / (2 sigma)``. The paper's equation leaves the own
    proxy out of the denominator (``decoupled=True``); the usual implementation, the default here, keeps it.

    Returns:
        [n].
    """
    return normalized_softmax(rows, labels, proxies, temperature=1 / (2 * softmax_scale), decoupled=decoupled)


def proxy_anchor(
    rows: Tensor, labels: Tensor, proxies: Tensor, *, margin: float = 0.1, alpha: float = 32.0
) -> Loss:
    """Proxy-anchor (arXiv 2003.13911, eq. 4): each proxy pulls its class's rows and pushes all others.

    ``mean_{present c} log(1 + sum_{y=c} e^{-alpha (s - margin)}) + mean_c log(1 + sum_{y!=c} e^{alpha (s + margin)})``.

    Args:
        rows: [n, D], the rows of **all** ranks (gathered): a proxy's sums run over the whole batch.
        labels: [n], of all ranks too.
        proxies: [C, D].
        margin, alpha: delta and the sharpness.

    Returns:
        Loss with values [C], one per class, and the statistic ``present`` [C].

    >>> loss = proxy_anchor(torch.eye(2), torch.tensor([0, 0]), torch.eye(2), margin=0.0, alpha=1.0)
    >>> loss.stats["present"].tolist()
    [1.0, 0.0]
    """
    _check(rows, labels, proxies)
    rows, proxies = unit(rows), unit(proxies)
    classes = torch.arange(len(proxies), device=labels.device)
    shift = alpha * margin
    pulled = similarity_logsumexp(proxies, rows, scale=-alpha, include=[same(classes, labels)]) + shift
    pushed = similarity_logsumexp(proxies, rows, scale=alpha, include=[different(classes, labels)]) + shift
    present = torch.isin(classes, labels).to(pulled.dtype)
    share = len(proxies) / present.sum().clamp(min=1)
    return Loss(softplus(pulled) * share + softplus(pushed), stats={"present": present})


def soft_triple(
    rows: Tensor,
    labels: Tensor,
    centers: Tensor,
    *,
    la: float = 20.0,
    gamma: float = 0.1,
    margin: float = 0.01,
) -> Tensor:
    """SoftTriple (arXiv 1909.05235, eq. 8-9): several centres per class, a row's similarity softly the best of them.

    ``S_c = sum_k softmax_k(s_ck / gamma) s_ck``; cross-entropy of ``la (S_c - margin [c = y])``.

    Args:
        rows: [n, D].
        labels: [n].
        centers: [C, K, D].
        la: scale of the logits.
        gamma: temperature among a class's centres.
        margin: taken off the own class's similarity.

    Returns:
        [n].

    >>> float(soft_triple(torch.eye(2), torch.tensor([0, 1]), torch.eye(2)[:, None])[0]) < 1e-6
    True
    """
    if centers.dim() != 3:
        raise CounterpointError(f"centers {tuple(centers.shape)}; expected [classes, centres per class, D]")
    _check(rows, labels, centers[:, 0])
    similarities = torch.einsum("nd,ckd->nck", unit(rows), unit(centers))
    relaxed = (torch.softmax(similarities / gamma, -1) * similarities).sum(-1)
    own = F.one_hot(labels, len(centers)).to(relaxed.dtype)
    return F.cross_entropy(la * (relaxed - margin * own), labels, reduction="none")


def _check(rows: Tensor, labels: Tensor, proxies: Tensor) -> None:
    if (
        rows.dim() != 2
        or proxies.dim() != 2
        or rows.shape[1] != proxies.shape[1]
        or labels.shape != rows.shape[:1]
    ):
        raise CounterpointError(
            f"rows {tuple(rows.shape)}, labels {tuple(labels.shape)} and proxies {tuple(proxies.shape)}; "
            "expected [n, D], [n] and [C, D] (one proxy a row)"
        )
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < len(proxies):
        raise CounterpointError(
            f"labels from {int(labels.min())} to {int(labels.max())} for {len(proxies)} proxies; expected 0 to {len(proxies) - 1}"
        )
