"""XSimGCL: graph recommendation with noise contrast in a single propagation (arXiv 2209.02544).

``L = BPR(Z) + r |Z| + lambda [ NCE_users(Z, C) + NCE_items(Z, C) ]``: one perturbed propagation gives the ranked
embedding Z (mean of its layers, without layer 0) and the contrasted one C (a single layer). Noise takes the place of
graph surgery, and the contrast across layers takes the place of a second pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from counterpoint.data.interactions.load import Interactions
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.recommendation import evaluate_recommender
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.interactions.recommender import Recommender
from counterpoint.objectives.contrast.graph_contrast import node_contrast
from counterpoint.objectives.control.ranking import bpr, dot, frobenius
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.graph_noise import orthant_noise
from counterpoint.pairs.negatives import UniformNegatives
from counterpoint.training import Optimizer, Run
from counterpoint.training.best import Best


@dataclass(kw_only=True)
class XSimGCL(Method[Recommender, Interactions]):
    """Graph recommendation with noise contrast in a single propagation; defaults are the paper's, for large data.

    Attributes:
        layers: propagation steps. contrast_layer: which one is contrasted with the mean, from 1 (0: the table itself).
        noise: length of the displacement of every propagated embedding.
        temperature: of the contrast. contrast: its weight, lambda.
        regularisation: weight of the size of the batch's embeddings.
        keep: "last", or "best" for the epoch with the best NDCG@20 on validation.
    """

    key: ClassVar[str] = "xsimgcl"
    search: ClassVar[Search] = {
        "contrast": (0.01, 0.5),
        "noise": (0.05, 0.3),
        "temperature": [0.1, 0.15, 0.2],
        "layers": [2, 3],
    }
    ablations: ClassVar[Ablations] = {
        "without contrast": {"contrast": 0.0},
        "without noise": {"noise": 0.0},
    }

    layers: int = 2
    contrast_layer: int = 1
    noise: float = 0.2
    temperature: float = 0.15
    contrast: float = 0.2
    regularisation: float = 1e-4
    learning_rate: float = 1e-3
    batch_size: int = 2048
    epochs: int = 20
    keep: Literal["last", "best"] = "last"

    def fit(self, model: Recommender, data: Interactions, run: Run) -> Recommender:
        """Train on the observed pairs of ``data.train``."""
        if not 0 <= self.contrast_layer <= self.layers:
            raise CounterpointError(
                f"contrast_layer={self.contrast_layer}: expected 0 to layers={self.layers}"
            )
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
            layers = model.propagated(t.nodes, perturb=orthant_noise(self.noise, run.rng))
            z, c = model.output(layers), layers[self.contrast_layer]
            user, positive, negative = z[t.user], z[t.positive], z[t.negative]
            run.step({
                "ranking": bpr(dot(user, positive), dot(user, negative)),
                "size": Loss(frobenius(user, positive, size=len(t)), weight=self.regularisation),
                "users": Loss(node_contrast(z[t.users], c[t.users], self.temperature), weight=self.contrast),
                "items": Loss(node_contrast(z[t.positives], c[t.positives], self.temperature), weight=self.contrast),
            })  # fmt: skip
        run.once("best", best.restore)
        return model
