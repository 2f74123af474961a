"""Triplets of sentences (Sentence-BERT, arXiv 1908.10084, section 3): the positive is nearer than the negative by a margin.

    l_i = max(|a_i - p_i| - |a_i - n_i| + m, 0)

Row by row: no other row of the batch is a negative. Of several negatives a row's losses are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from counterpoint.data.sentence_pairs.items import SentencePairs
from counterpoint.methods.base import Search
from counterpoint.methods.sentences import SentenceMethod
from counterpoint.objectives.contrast.margins import row_triplet
from counterpoint.phases.sentence_pairs.training import refuse_form
from counterpoint.training import Run


@dataclass(kw_only=True)
class SentenceTriplet(SentenceMethod):
    """Settings of the triplet loss.

    Attributes:
        distance: "euclidean", or "cosine" (1 minus it). margin: m, in the distance's units; where vectors have length one a Euclidean
            distance is at most 2.
        encoding, batch_size, epochs, learning_rate, optimizer: as of every ``SentenceMethod``.
    """

    key: ClassVar[str] = "sentence-triplet"
    search: ClassVar[Search] = {"margin": (0.05, 2.0), "learning_rate": (1e-6, 1e-3)}

    distance: Literal["euclidean", "cosine"] = "euclidean"
    margin: float = 1.0

    def fit(self, model: nn.Module, data: SentencePairs, run: Run) -> nn.Module:
        """Train and return the encoder."""
        refuse_form(self.key, data, scored=False, negatives=True)
        self.demand(above_zero=["margin"])
        encoder = self.encoding.applied(model)
        for batch in self.batches(run, encoder, data):
            assert batch.negatives is not None
            losses = [
                row_triplet(batch.anchors, batch.positives, wrong, self.margin, self.distance)
                for wrong in batch.negatives.unbind(1)
            ]
            run.step(torch.stack(losses).mean(0))
        return encoder
