"""P3: steps of graph contrast (XSimGCL) at the shape of yelp2018: draw negatives, propagate, losses, backward, Adam.

``coo-loop`` is the common implementation: an uncoalesced COO product over all nodes in every layer and a sampler that
loops in Python. With COUNTERPOINT_SELFREC naming a checkout of SELFRec, ``selfrec`` runs that repository's own sampler and
sparse conversion. Interactions are drawn with popularity, as the real ones are not to be had offline.
"""

from __future__ import annotations

import os
import random
import sys

import torch
import torch.nn.functional as F
from harness import Step, Workload, main

SHAPE = {
    "users": 31_668,
    "items": 38_048,
    "edges": 1_240_000,
    "d": 64,
    "layers": 3,
    "batch": 2048,
    "steps": 8,
}
SMALL = {"users": 300, "items": 400, "edges": 4_000, "d": 16, "layers": 3, "batch": 256, "steps": 2}
ARMS = ("ours", "coo-loop") + (("selfrec",) if os.environ.get("COUNTERPOINT_SELFREC") else ())
WORKLOADS = [
    Workload("p3-xsimgcl", ARMS, SHAPE, SMALL, ">= 3x, stretch 5x", tolerance=1e-4, goals={"coo-loop": 3})
]
NOISE, TEMPERATURE, CONTRAST, SIZE = 0.2, 0.15, 0.2, 1e-4


def pairs(sizes: dict[str, int]) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    count, items = sizes["edges"], sizes["items"]
    keys = torch.zeros(0, dtype=torch.long)
    while len(keys) < count:
        u = (torch.rand(count, generator=g) ** 1.8 * sizes["users"]).long()
        i = (torch.rand(count, generator=g) ** 2.2 * items).long()
        keys = torch.unique(torch.cat([keys, u * items + i]))
    keys = keys[torch.randperm(len(keys), generator=g)[:count]]
    return keys // items, keys % items


def prepare(workload: Workload, arm: str, sizes: dict[str, int]) -> Step:
    users, items = pairs(sizes)
    nodes = sizes["users"] + sizes["items"]
    g = torch.Generator().manual_seed(1)
    table = torch.nn.Parameter(torch.randn(nodes, sizes["d"], generator=g) * 0.1)
    order = torch.randperm(len(users), generator=g)
    adam = torch.optim.Adam([table], lr=1e-3)
    arm_step = (Ours if arm == "ours" else Loop)(users, items, sizes, arm)
    fixed = torch.randint(0, sizes["items"], (sizes["batch"],), generator=g)

    def step() -> dict:
        batch = order[: sizes["batch"]]
        # One step with given negatives and no noise, to compare; the rest draw their own.
        first = arm_step.loss(table, users[batch], items[batch], fixed, noise=0.0)
        first.backward()
        gradient = table.grad.clone()
        for k in range(sizes["steps"]):
            batch = order[k * sizes["batch"] : (k + 1) * sizes["batch"]]
            table.grad = None
            negatives = arm_step.negatives(users[batch], items[batch])
            arm_step.loss(table, users[batch], items[batch], negatives, noise=NOISE).backward()
            adam.step()
        return {"loss": first.detach(), "gradient": gradient}

    return step


class Ours:
    def __init__(self, users: torch.Tensor, items: torch.Tensor, sizes: dict[str, int], arm: str) -> None:
        from counterpoint.kernels.graph import bipartite_adjacency
        from counterpoint.kernels.negatives import interactions

        self.sizes, self.generator = sizes, torch.Generator().manual_seed(2)
        self.graph = bipartite_adjacency(users, items, sizes["users"], sizes["items"])
        self.known = interactions(users, items, sizes["users"], sizes["items"])

    def negatives(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        from counterpoint.kernels.negatives import sample_negatives

        return sample_negatives(self.known, users, self.generator)

    def loss(
        self,
        table: torch.Tensor,
        users: torch.Tensor,
        items: torch.Tensor,
        negatives: torch.Tensor,
        noise: float,
    ) -> torch.Tensor:
        from counterpoint.kernels.graph import propagate, propagate_rows
        from counterpoint.objectives.contrast.graph_contrast import node_contrast
        from counterpoint.objectives.control.ranking import bpr, dot, frobenius
        from counterpoint.pairs.graph_noise import orthant_noise
        from counterpoint.pairs.negatives import triples

        t = triples(users, items, negatives, self.sizes["users"])
        perturb = orthant_noise(noise, self.generator)
        x, layers = table, []
        for layer in range(1, self.sizes["layers"] + 1):
            last = layer == self.sizes["layers"]
            x = propagate_rows(self.graph, x, t.nodes) if last else propagate(self.graph, x)
            x = x if perturb is None else perturb(x, layer, t.nodes if last else None)
            layers.append(x if last else x[t.nodes])
        z, c = sum(layers) / len(layers), layers[0]
        u, p, n = z[t.user], z[t.positive], z[t.negative]
        contrast = (
            node_contrast(z[t.users], c[t.users], TEMPERATURE).mean()
            + node_contrast(z[t.positives], c[t.positives], TEMPERATURE).mean()
        )
        return (
            bpr(dot(u, p), dot(u, n)).mean() + SIZE * frobenius(u, p, size=len(u)).sum() + CONTRAST * contrast
        )


class Loop:
    def __init__(self, users: torch.Tensor, items: torch.Tensor, sizes: dict[str, int], arm: str) -> None:
        self.sizes = sizes
        count = sizes["users"] + sizes["items"]
        row = torch.cat([users, items + sizes["users"]])
        column = torch.cat([items + sizes["users"], users])
        degree = torch.bincount(row, minlength=count).float()
        values = (degree[row] * degree[column]).rsqrt()
        self.matrix = torch.sparse_coo_tensor(torch.stack([row, column]), values, (count, count))
        if arm == "selfrec":
            self.matrix = _selfrec_matrix(self.matrix)
        self.observed: dict[int, set[int]] = {}
        for u, i in zip(users.tolist(), items.tolist()):
            self.observed.setdefault(u, set()).add(i)
        self.all_items = list(range(sizes["items"]))

    def negatives(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        drawn = []
        for u in users.tolist():
            item = random.choice(self.all_items)
            while item in self.observed[u]:
                item = random.choice(self.all_items)
            drawn.append(item)
        return torch.tensor(drawn)

    def loss(
        self,
        table: torch.Tensor,
        users: torch.Tensor,
        items: torch.Tensor,
        negatives: torch.Tensor,
        noise: float,
    ) -> torch.Tensor:
        x, layers = table, []
        for _ in range(self.sizes["layers"]):
            x = torch.sparse.mm(self.matrix, x)
            if noise:
                x = x + torch.sign(x.detach()) * F.normalize(torch.rand_like(x), dim=-1) * noise
            layers.append(x)
        z = torch.stack(layers, 1).mean(1)
        c = layers[0]
        u, p, n = z[users], z[items + self.sizes["users"]], z[negatives + self.sizes["users"]]
        ranking = -torch.log(1e-5 + torch.sigmoid((u * p).sum(1) - (u * n).sum(1))).mean()
        size = (u.norm() + p.norm()) / len(u)
        return (
            ranking
            + SIZE * size
            + CONTRAST
            * (_contrast(z, c, users.unique()) + _contrast(z, c, (items + self.sizes["users"]).unique()))
        )


def _contrast(z: torch.Tensor, c: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
    a, b = F.normalize(z[nodes], dim=1), F.normalize(c[nodes], dim=1)
    positive = ((a * b).sum(1) / TEMPERATURE).exp()
    return -(positive / (a @ b.T / TEMPERATURE).exp().sum(1)).log().mean()


def _selfrec_matrix(matrix: torch.Tensor) -> torch.Tensor:
    sys.path.insert(0, os.environ["COUNTERPOINT_SELFREC"])
    import scipy.sparse as sp
    from base.torch_interface import TorchGraphInterface  # the checkout's own conversion

    index, values = matrix._indices().numpy(), matrix._values().numpy()
    return TorchGraphInterface.convert_sparse_mat_to_tensor(
        sp.csr_matrix((values, index), shape=matrix.shape)
    )


if __name__ == "__main__":
    main(__file__, WORKLOADS, prepare)
