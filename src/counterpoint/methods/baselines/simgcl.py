"""SimGCL: noise contrast in three propagations (arXiv 2112.08679).

``L = BPR(Z) + r |Z| + lambda [ NCE_users(Z', Z'') + NCE_items(Z', Z'') ]``: Z from the clean propagation, Z' and Z''
from two perturbed ones, each the mean of its layers without layer 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from counterpoint.data.interactions.load import Interactions
from counterpoint.evaluation.recommendation import evaluate_recommender
from counterpoint.methods.base import Method, Search
from counterpoint.models.interactions.recommender import Recommender
from counterpoint.objectives.contrast.graph_contrast import node_contrast
from counterpoint.objectives.control.ranking import bpr, dot, frobenius
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.graph_noise import orthant_noise
from counterpoint.pairs.negatives import UniformNegatives
from counterpoint.training import Optimizer, Run
from counterpoint.training.best import Best


@dataclass(kw_only=True)
class SimGCL(Method[Recommender, Interactions]):
    """Graph recommendation with noise contrast in three propagations; defaults are the paper's, for large data.

    Attributes:
        layers: propagation steps.
        noise: length of the displacement of every propagated embedding.
        temperature: of the contrast. contrast: its weight, lambda.
        regularisation: weight of the size of the batch's embeddings.
        keep: "last", or "best" for the epoch with the best NDCG@20 on validation.
    """

    key: ClassVar[str] = "simgcl"
    search: ClassVar[Search] = {
        "contrast": (0.01, 0.5),
        "noise": (0.05, 0.3),
        "temperature": [0.1, 0.15, 0.2],
        "layers": [2, 3],
    }

    layers: int = 2
    noise: float = 0.1
    temperature: float = 0.2
    contrast: float = 0.5
    regularisation: float = 1e-4
    learning_rate: float = 1e-3
    batch_size: int = 2048
    epochs: int = 20
    keep: Literal["last", "best"] = "last"

    def fit(self, model: Recommender, data: Interactions, run: Run) -> Recommender:
        """Train on the observed pairs of ``data.train``."""
        model = run.state(model=model.over(data, layers=self.layers, first_layer=False))
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
            z = model(t.nodes)
            first, second = (model(t.nodes, perturb=orthant_noise(self.noise, run.rng)) for _ in range(2))
            user, positive, negative = z[t.user], z[t.positive], z[t.negative]
            run.step({
                "ranking": bpr(dot(user, positive), dot(user, negative)),
                "size": Loss(frobenius(user, positive, size=len(t)), weight=self.regularisation),
                "users": Loss(node_contrast(first[t.users], second[t.users], self.temperature), weight=self.contrast),
                "items": Loss(node_contrast(first[t.positives], second[t.positives], self.temperature), weight=self.contrast),
            })  # fmt: skip
        run.once("best", best.restore)
        return model
