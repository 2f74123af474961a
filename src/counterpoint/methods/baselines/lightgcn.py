"""LightGCN: linear graph propagation with BPR (arXiv 2002.02126).

``L = BPR(Z) + r |E0| / B``: Z is the mean of all layers, layer 0 included; E0 are the rows of the embedding tables
that the batch's triples name. Without contrast: what the graph-contrast methods are measured against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from counterpoint.data.interactions.load import Interactions
from counterpoint.evaluation.recommendation import evaluate_recommender
from counterpoint.methods.base import Method, Search
from counterpoint.models.interactions.recommender import Recommender
from counterpoint.objectives.control.ranking import bpr, dot, frobenius
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.negatives import UniformNegatives
from counterpoint.training import Optimizer, Run
from counterpoint.training.best import Best


@dataclass(kw_only=True)
class LightGCN(Method[Recommender, Interactions]):
    """Recommendation by linear graph propagation, without contrast.

    Attributes:
        layers: propagation steps; 0 is matrix factorisation.
        regularisation: weight of the size of the batch's layer-0 rows, which is divided by the batch size twice.
        keep: "last", or "best" for the epoch with the best NDCG@20 on validation.
    """

    key: ClassVar[str] = "lightgcn"
    search: ClassVar[Search] = {
        "learning_rate": (5e-4, 2e-2),
        "regularisation": (1e-5, 1.0),
        "layers": [1, 2, 3],
    }

    layers: int = 2
    regularisation: float = 1e-4
    learning_rate: float = 1e-3
    batch_size: int = 2048
    epochs: int = 500
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
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            best.before(batch.epoch)
            # Propagation needs the whole graph, so every process works on the whole batch.
            t = negatives(
                *(
                    run.gather_constant(x)
                    for x in (batch.items.users, batch.items.items, batch.random.uniform())
                )
            )
            layers = model.propagated(t.nodes)
            z, table = model.output(layers), layers[0]
            size = (
                frobenius(table[t.user], table[t.positive], table[t.negative], size=len(t)) / self.batch_size
            )
            run.step({
                "ranking": bpr(dot(z[t.user], z[t.positive]), dot(z[t.user], z[t.negative])),
                "size": Loss(size, weight=self.regularisation),
            })  # fmt: skip
        run.once("best", best.restore)
        return model
