"""Makes files/sentence-pairs.npz: losses of sentence-transformers on given vectors, and their gradients.

    python tests/vectors/make_sentence_pairs.py        in an environment that has sentence-transformers==6.2.0

Nothing of counterpoint is used. Vectors are float64; each loss is the library's own module over a model that hands the vectors through.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import util
from sentence_transformers.sentence_transformer import losses
from torch import Tensor, nn

OUT = Path(__file__).parent / "files" / "sentence-pairs.npz"
N, D = 6, 5


class Through(nn.Module):
    """Features are the vectors."""

    similarity = staticmethod(util.cos_sim)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["x"]}


CASES: dict[str, tuple[Callable[[], Any], int, bool]] = {
    "pairs": (lambda: losses.MultipleNegativesRankingLoss(Through()), 2, False),
    "hard_negatives": (lambda: losses.MultipleNegativesRankingLoss(Through(), scale=12.5), 4, False),
    "symmetric": (lambda: losses.MultipleNegativesSymmetricRankingLoss(Through()), 3, False),
    "triplet": (lambda: losses.TripletLoss(Through(), triplet_margin=1.0), 3, False),
    "triplet_cosine": (
        lambda: losses.TripletLoss(
            Through(), distance_metric=losses.TripletDistanceMetric.COSINE, triplet_margin=0.5
        ),
        3,
        False,
    ),
    "cosent": (lambda: losses.CoSENTLoss(Through()), 2, True),
    "mse": (lambda: losses.CosineSimilarityLoss(Through()), 2, True),
}
"""Name -> the loss, columns of vectors, and whether it has scores."""


def main() -> None:
    generator = np.random.default_rng(0)
    columns = generator.normal(size=(4, N, D))
    scores = generator.integers(0, 6, N) / 5  # with ties
    found: dict[str, Any] = {}
    for name, (make, count, scored) in CASES.items():
        given = [torch.tensor(each, requires_grad=True) for each in columns[:count]]
        value = make()([{"x": each} for each in given], torch.tensor(scores) if scored else None)
        gradients = torch.autograd.grad(value, given)
        found |= {f"{name}/columns": columns[:count], f"{name}/loss": value.item()}
        found[f"{name}/grad"] = torch.stack(gradients).numpy()
        if scored:
            found[f"{name}/scores"] = scores
    np.savez(OUT, **found)


if __name__ == "__main__":
    main()
