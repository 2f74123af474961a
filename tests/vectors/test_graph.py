"""Graph contrast against the reference values: XSimGCL, SimGCL, LightGCN and SGL, embeddings, losses and gradients.

The noise of the file takes the place of the random draws; nodes are restricted to the batch's, as in training.
"""

from __future__ import annotations

from functools import partial

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.kernels.graph import bipartite_adjacency
from counterpoint.models.interactions.recommender import Perturbation, Recommender
from counterpoint.objectives.contrast.graph_contrast import node_contrast
from counterpoint.objectives.control.ranking import bpr, dot, frobenius
from counterpoint.pairs.graph_noise import perturb
from counterpoint.pairs.negatives import Triples, triples

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}
FLOOR = {torch.float64: 1e-12, torch.float32: 1e-6}


class Graph:
    """A case as a model, a batch and its noise, in one dtype."""

    def __init__(self, case: Case, dtype: torch.dtype, first_layer: bool) -> None:
        edges = case.tensor("edges")
        self.case, self.dtype, self.edges = case, dtype, edges
        self.users, self.items = int(case.number("n_users")), int(case.number("n_items"))
        dimension = case.array("user_emb0").shape[1]
        self.model = Recommender(
            self.users, self.items, len(edges), dimension, int(case.number("n_layers")), first_layer
        ).to(dtype)
        self.model.pairs.copy_(edges.T)
        with torch.no_grad():
            self.model.user_embeddings.copy_(case.tensor("user_emb0"))
            self.model.item_embeddings.copy_(case.tensor("item_emb0"))
        self.batch: Triples = triples(*(case.tensor(f"{n}_idx") for n in ("user", "pos", "neg")), self.users)
        self.eps, self.tau, self.lam, self.reg = (case.number(n) for n in ("eps", "tau", "lam", "reg"))

    def noise(self, number: int) -> Perturbation:
        """The perturbation of the ``number``-th noisy pass."""
        slabs = self.case.tensor("noise", dtype=self.dtype)

        def noisy(x: Tensor, layer: int, rows: Tensor | None) -> Tensor:
            u = slabs[number * self.model.layers + layer - 1]
            return perturb(x, u if rows is None else u[rows], self.eps)

        return noisy

    def same(self, key: str, actual: Tensor | None) -> None:
        self.case.expect(key, actual, rtol=TOLERANCE[self.dtype], atol=FLOOR[self.dtype])

    def check_tables(self, prefix: str, table: Tensor) -> None:
        users, items = table.split([self.users, self.items])
        self.same(f"{prefix}_user", users)
        self.same(f"{prefix}_item", items)

    def check_gradients(self, group: str, loss: Tensor) -> None:
        loss.backward()
        self.same(f"{group}/loss", loss)
        self.same(f"{group}/grad_user_emb0", self.model.user_embeddings.grad)
        self.same(f"{group}/grad_item_emb0", self.model.item_embeddings.grad)

    def ranking(self, z: Tensor) -> Tensor:
        t = self.batch
        return bpr(dot(z[t.user], z[t.positive]), dot(z[t.user], z[t.negative])).mean()

    def both_contrasts(self, first: Tensor, second: Tensor, tau: float) -> Tensor:
        return sum(
            node_contrast(first[s], second[s], tau).mean() for s in (self.batch.users, self.batch.positives)
        )


def adjacency(case: Case) -> None:
    g = Graph(case, torch.float64, first_layer=False)
    g.same("norm_adj", g.model.graph.matrix.to_dense())


def xsimgcl(case: Case, dtype: torch.dtype) -> None:
    g = Graph(case, dtype, first_layer=False)
    t, layer = g.batch, int(case.number("l_star"))
    whole = g.model.propagated(perturb=g.noise(0))
    g.check_tables("xsimgcl/rec", g.model.output(whole))
    g.check_tables("xsimgcl/cl", whole[layer])
    g.check_tables("xsimgcl/infer", torch.cat(g.model.embeddings()))
    layers = g.model.propagated(t.nodes, perturb=g.noise(0))
    z, c = g.model.output(layers), layers[layer]
    ranking = g.ranking(z)
    size = g.reg * frobenius(z[t.user], z[t.positive], size=len(t)).sum()
    contrast = g.both_contrasts(z, c, g.tau)
    g.same("xsimgcl/bpr", ranking)
    g.same("xsimgcl/reg", size)
    g.same("xsimgcl/cl", contrast)
    g.check_gradients("xsimgcl", ranking + size + g.lam * contrast)


def simgcl(case: Case, dtype: torch.dtype) -> None:
    g = Graph(case, dtype, first_layer=False)
    t = g.batch
    z, first, second = g.model(t.nodes), *(g.model(t.nodes, perturb=g.noise(n)) for n in range(2))
    ranking, contrast = g.ranking(z), g.both_contrasts(first, second, case.number("simgcl/tau"))
    size = g.reg * frobenius(z[t.user], z[t.positive], size=len(t)).sum()
    g.same("simgcl/bpr", ranking)
    g.same("simgcl/cl", contrast)
    g.check_gradients("simgcl", ranking + size + g.lam * contrast)


def lightgcn(case: Case, dtype: torch.dtype) -> None:
    g = Graph(case, dtype, first_layer=True)
    t = g.batch
    g.check_tables("lightgcn/rec", g.model())
    layers = g.model.propagated(t.nodes)
    z, table = g.model.output(layers), layers[0]
    size = frobenius(table[t.user], table[t.positive], table[t.negative], size=len(t)).sum() / len(t)
    g.check_gradients("lightgcn", g.ranking(z) + g.reg * size)


def sgl(case: Case, dtype: torch.dtype) -> None:
    g = Graph(case, dtype, first_layer=True)
    t = g.batch
    thinned = [
        bipartite_adjacency(*g.edges[case.tensor(f"sgl/keep{n}")].T, g.users, g.items, dtype=dtype)
        for n in (1, 2)
    ]
    z, first, second = g.model(t.nodes), *(g.model(t.nodes, graph=graph) for graph in thinned)
    both = torch.cat([t.users, t.positives])
    ranking, contrast = g.ranking(z), node_contrast(first[both], second[both], g.tau).mean()
    size = g.reg * frobenius(z[t.user], z[t.positive], z[t.negative], size=len(t)).sum()
    g.same("sgl/cl", contrast)
    g.check_gradients("sgl", ranking + size + g.lam * contrast)


def graph(case: Case) -> Checks:
    known = {"xsimgcl": xsimgcl, "simgcl": simgcl, "lightgcn": lightgcn, "sgl": sgl}
    checks: Checks = {"adjacency": partial(adjacency, case)}
    for group in case.losses():
        for dtype in TOLERANCE:
            checks[f"{group}-{str(dtype)[6:]}"] = partial(known[group], case, dtype)
    return checks


test_graph = vector_tests({"xsimgcl": graph})
