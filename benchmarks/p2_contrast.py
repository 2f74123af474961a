"""P2: contrast with large batches: value and gradients of the loss, embeddings given."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from harness import Step, Workload, main

SCALE = 20.0
SMALL = {"n": 512, "d": 64}


def shape(n: int, d: int = 256) -> dict[str, int]:
    return {"n": n, "d": d}


WORKLOADS = [
    Workload("p2-one-way", ("ours", "plain", "floor"), shape(16_384), SMALL, ">= 1.8x plain, peak <= 150 MB", goals={"plain": 1.8, "peak_mb": 150}),
    Workload("p2-symmetric", ("ours", "plain", "floor"), shape(16_384), SMALL, ">= 2.4x plain, peak <= 150 MB", goals={"plain": 2.4, "peak_mb": 150}),
    Workload("p2-ntxent", ("ours", "plain", "floor"), shape(16_384), SMALL, ">= 5x plain, peak <= 150 MB", goals={"plain": 5, "peak_mb": 150}),
    Workload("p2-supervised", ("ours", "plain"), shape(16_384), SMALL, "faster than plain", goals={"plain": 1, "peak_mb": 150}),
    Workload("p2-multiview", ("ours", "plain"), shape(4_096), SMALL, "faster than plain", goals={"plain": 1, "peak_mb": 150}),
    Workload("p2-one-way-32k", ("ours", "sentence-transformers"), shape(32_768), SMALL, ">= 3x sentence-transformers, peak <= 150 MB", goals={"sentence-transformers": 3, "peak_mb": 150}),
    Workload("p2-ntxent-131k", ("ours",), shape(65_536), SMALL, "131,072 rows run within 24 GB", compare=False, goals={"peak_mb": 24_000}),
    Workload("p2-small", ("ours", "pytorch-metric-learning", "plain"), shape(128, 128), {"n": 16, "d": 8}, "not slower than the peers", goals={"pytorch-metric-learning": 1, "plain": 1}),
]  # fmt: skip


def prepare(workload: Workload, arm: str, sizes: dict[str, int]) -> Step:
    g = torch.Generator().manual_seed(0)
    n, d = sizes["n"], sizes["d"]
    kind = workload.name.split("-")[1]
    views = 4 if kind == "multiview" else 2
    parts = [F.normalize(torch.randn(n, d, generator=g)).requires_grad_() for _ in range(views)]
    labels = torch.randint(0, max(n // 16, 2), (n,), generator=g)
    loss = {
        "ours": ours,
        "plain": plain,
        "sentence-transformers": cached,
        "pytorch-metric-learning": metric,
    }.get(arm, plain)
    if arm == "floor":
        return lambda: floor(kind, [z.detach() for z in parts])
    repeats = 20 if workload.name == "p2-small" else 1

    def step() -> dict:
        for _ in range(repeats):
            for z in parts:
                z.grad = None
            value = loss(workload.name.removesuffix("-32k").removesuffix("-131k"), parts, labels)
            if value.grad_fn is not None:
                value.backward()
        used = [z.grad for z in parts if z.grad is not None]
        return {"value": value.detach(), **{f"grad{i}": grad for i, grad in enumerate(used)}}

    return step


def ours(name: str, parts: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    from counterpoint.kernels.similarity import (
        key_mean_similarity,
        not_self,
        similarity_logsumexp,
        similarity_logsumexp_both,
        similarity_logsumexp_views,
    )

    a, b = parts[0], parts[1]
    n = len(a)
    if name == "p2-one-way":
        return (similarity_logsumexp(a, b, scale=SCALE) - SCALE * (a * b).sum(1)).mean()
    if name == "p2-symmetric":
        rows, columns = similarity_logsumexp_both(a, b, scale=SCALE)
        return (0.5 * (rows + columns) - SCALE * (a * b).sum(1)).mean()
    if name in ("p2-ntxent", "p2-small"):
        z = torch.cat([a, b])
        return (
            similarity_logsumexp(z, scale=SCALE, include=[not_self(2 * n)]) - SCALE * (a * b).sum(1).repeat(2)
        ).mean()
    if name == "p2-supervised":
        mean, count = key_mean_similarity(a, labels, exclude_self=True)
        against = similarity_logsumexp(a, scale=SCALE, include=[not_self(n)])
        return torch.where(count > 0, against - SCALE * mean, 0.0).mean()
    z = torch.cat(parts)
    against = similarity_logsumexp_views(z, len(parts), scale=SCALE, include=[not_self(len(z))])
    return (against - _own_views(parts)).mean()


def floor(kind: str, parts: list[torch.Tensor], tile: int = 2048) -> dict:
    """The bare products: similarities and two gradients, 3 in all; of rows against themselves half of it, by symmetry 2."""
    rows, columns = (torch.cat(parts),) * 2 if kind == "ntxent" else parts[:2]
    block, found, other = (
        torch.empty(tile, len(columns)),
        torch.empty(tile, rows.shape[1]),
        torch.zeros_like(columns),
    )
    for start in range(0, len(rows), tile):
        part = rows[start : start + tile]
        width = len(columns) - start if kind == "ntxent" else len(columns)
        table = block[: len(part), :width]
        torch.mm(part, columns[-width:].T, out=table)
        if kind == "ntxent":  # sums first, then the same half once more
            torch.mm(part, columns[-width:].T, out=table)
        torch.mm(table, columns[-width:], out=found[: len(part)])
        other[-width:].addmm_(table.T, part)
    return {}


def _own_views(parts: list[torch.Tensor]) -> torch.Tensor:
    z = torch.stack(parts, 1)
    own = SCALE * z @ z.mT
    outside = torch.eye(len(parts), dtype=torch.bool)
    return own.masked_fill(outside, -torch.inf).flatten(1).logsumexp(1)


def plain(name: str, parts: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    a, b = parts[0], parts[1]
    n = len(a)
    target = torch.arange(n)
    if name == "p2-one-way":
        return F.cross_entropy(SCALE * a @ b.T, target)
    if name == "p2-symmetric":
        logits = SCALE * a @ b.T
        return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
    if name in ("p2-ntxent", "p2-small"):
        z = torch.cat([a, b])
        logits = (SCALE * z @ z.T).masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
        return F.cross_entropy(logits, (torch.arange(2 * n) + n) % (2 * n))
    if name == "p2-supervised":
        logits = SCALE * a @ a.T
        own = torch.eye(n, dtype=torch.bool)
        positive = (labels[:, None] == labels[None]) & ~own
        count = positive.sum(1)
        against = logits.masked_fill(own, -torch.inf).logsumexp(1)
        mean = torch.where(positive, logits, 0.0).sum(1) / count.clamp(min=1)
        return torch.where(count > 0, against - mean, 0.0).mean()
    z = torch.cat(parts)
    logits = (SCALE * z @ z.T).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    against = logits.logsumexp(1).view(len(parts), n).logsumexp(0)
    return (against - _own_views(parts)).mean()


def cached(name: str, parts: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """The loss stage of the cached ranking loss: gradients of the embeddings, mini-batches of 64."""
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
    from sentence_transformers.util import dot_score

    loss = CachedMultipleNegativesRankingLoss(
        torch.nn.Sequential(torch.nn.Identity()), scale=SCALE, similarity_fct=dot_score, mini_batch_size=64
    )
    return loss.calculate_loss([[z] for z in parts[:2]], with_backward=True)


def metric(name: str, parts: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    from pytorch_metric_learning.distances import DotProductSimilarity
    from pytorch_metric_learning.losses import NTXentLoss

    n = len(parts[0])
    distance = DotProductSimilarity(normalize_embeddings=False)
    return NTXentLoss(temperature=1 / SCALE, distance=distance)(torch.cat(parts), torch.arange(n).repeat(2))


if __name__ == "__main__":
    main(__file__, WORKLOADS, prepare)
