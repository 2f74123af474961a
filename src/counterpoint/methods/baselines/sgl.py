"""SGL-ED: contrast of two edge-dropped graphs (arXiv 2010.10783).

``L = BPR(Z) + r |Z| + lambda NCE(Z', Z'')``: Z from the whole graph, Z' and Z'' from two thinned ones, drawn anew every
epoch and normalised by their own degrees; each is the mean of its layers, layer 0 included. The batch's users and
items stand in one softmax together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from counterpoint.data.interactions.load import Interactions
from counterpoint.evaluation.recommendation import evaluate_recommender
from counterpoint.kernels.graph import Adjacency, bipartite_adjacency
from counterpoint.methods.base import Method, Search
from counterpoint.models.interactions.recommender import Recommender
from counterpoint.objectives.contrast.graph_contrast import node_contrast
from counterpoint.objectives.control.ranking import bpr, dot, frobenius
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.edge_drop import retained_edges
from counterpoint.pairs.negatives import UniformNegatives
from counterpoint.training import Optimizer, Run
from counterpoint.training.best import Best
from counterpoint.training.seeds import derive


@dataclass(kw_only=True)
class SGL(Method[Recommender, Interactions]):
    """Graph recommendation with contrast of two edge-dropped graphs; defaults are the paper's, for large data.

    Attributes:
        layers: propagation steps.
        dropped: share of the edges that a thinned graph lacks.
        temperature: of the contrast. contrast: its weight, lambda.
        regularisation: weight of the size of the batch's embeddings, negatives included.
        keep: "last", or "best" for the epoch with the best NDCG@20 on validation.
    """

    key: ClassVar[str] = "sgl"
    search: ClassVar[Search] = {
        "contrast": (0.01, 0.5),
        "dropped": (0.05, 0.3),
        "temperature": [0.1, 0.15, 0.2],
        "layers": [2, 3],
    }

    layers: int = 2
    dropped: float = 0.1
    temperature: float = 0.2
    contrast: float = 0.1
    regularisation: float = 1e-4
    learning_rate: float = 1e-3
    batch_size: int = 2048
    epochs: int = 20
    keep: Literal["last", "best"] = "last"

    def fit(self, model: Recommender, data: Interactions, run: Run) -> Recommender:
        """Train on the observed pairs of ``data.train``."""
        model = run.state(model=model.over(data, layers=self.layers, first_layer=True))
        measured = (
            (lambda: evaluate_recommender(model, data, "validation")["ndcg@20"])
            if self.keep == "best"
            else None
        )
        best = run.state(best=Best(model, measured))
        run.optimize(model, Optimizer(name="adam", learning_rate=self.learning_rate))
        negatives = UniformNegatives(model.pairs, model.num_users, model.num_items)
        epoch = -1
        thinned: tuple[Adjacency, ...] = ()
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            best.before(batch.epoch)
            if batch.epoch != epoch:
                epoch, thinned = batch.epoch, self.thinned(model, derive(run.seed, "edges", batch.epoch))
            # Propagation needs the whole graph, so every process works on the whole batch.
            t = negatives(
                *(
                    run.gather_constant(x)
                    for x in (batch.items.users, batch.items.items, batch.random.uniform())
                )
            )
            z = model(t.nodes)
            first, second = (model(t.nodes, graph=graph) for graph in thinned)
            user, positive, negative = z[t.user], z[t.positive], z[t.negative]
            both = torch.cat([t.users, t.positives])
            run.step({
                "ranking": bpr(dot(user, positive), dot(user, negative)),
                "size": Loss(frobenius(user, positive, negative, size=len(t)), weight=self.regularisation),
                "contrast": Loss(node_contrast(first[both], second[both], self.temperature), weight=self.contrast),
            })  # fmt: skip
        run.once("best", best.restore)
        return model

    def thinned(self, model: Recommender, seed: int) -> tuple[Adjacency, ...]:
        """Draw two thinned graphs; a function of the seed alone, so that a resumed epoch has the same ones."""
        draws = torch.Generator().manual_seed(seed)
        edges = [
            retained_edges(model.pairs.shape[1], self.dropped, draws).to(model.pairs.device) for _ in range(2)
        ]
        users, items = model.pairs.long()
        return tuple(bipartite_adjacency(users[k], items[k], model.num_users, model.num_items) for k in edges)
