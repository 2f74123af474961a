"""Graded pairs of sentences: cosines in the scores' order (CoSENT, as arXiv 2309.12871 restates it), or equal to them (arXiv 1908.10084).

cosent   log(1 + sum_{s_i > s_j} e^{(cos_j - cos_i)/tau})  over all pairs of the batch's rows
mse      (cos_i - s_i)^2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from counterpoint.data.sentence_pairs.items import SentencePairs
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Search
from counterpoint.methods.sentences import SentenceMethod
from counterpoint.objectives.labels.graded_pairs import cosent, cosine_error
from counterpoint.phases.sentence_pairs.training import refuse_form
from counterpoint.training import Run


@dataclass(kw_only=True)
class CoSENT(SentenceMethod):
    """Settings of learning from scores.

    Attributes:
        loss: "cosent", by the order of the batch's scores, or "mse", by their values.
        temperature: tau of "cosent"; 0.05 is a scale of 20.
        encoding, batch_size, epochs, learning_rate, optimizer: as of every ``SentenceMethod``.
    """

    key: ClassVar[str] = "cosent"
    search: ClassVar[Search] = {"loss": ["cosent", "mse"], "learning_rate": (1e-6, 1e-3)}
    ablations: ClassVar[Ablations] = {"values in place of the order": {"loss": "mse"}}

    loss: Literal["cosent", "mse"] = "cosent"
    temperature: float = 0.05

    def check(self, data: SentencePairs) -> None:
        """Refuse batches of one row, among which nothing has an order."""
        if self.loss == "cosent" and self.batch_size < 2:
            raise CounterpointError(
                f"{self.key}: batch_size={self.batch_size}; the order of a batch's scores is learnt, and one row has none: give at least "
                "2, such as --batch-size 16, or --loss mse"
            )

    def fit(self, model: nn.Module, data: SentencePairs, run: Run) -> nn.Module:
        """Train and return the encoder."""
        refuse_form(self.key, data, scored=True)
        self.demand(above_zero=["temperature"])
        encoder = self.encoding.applied(model)
        for batch in self.batches(run, encoder, data):
            pair = batch.anchors, batch.positives, batch.scores
            if self.loss == "mse":
                run.step(cosine_error(*pair))
                continue
            every = None
            if batch.candidates is not None:
                every = batch.candidates[0], batch.candidates[1], run.gather_constant(batch.scores)
            run.step(cosent(*pair, temperature=self.temperature, candidates=every))
        return encoder
