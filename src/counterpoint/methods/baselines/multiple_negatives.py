"""Multiple negatives ranking (arXiv 1705.00652, section 4.4): an anchor finds its positive among the batch's and hard negatives.

    l_i = -log e^{s(a_i, p_i)/tau} / (sum_j e^{s(a_i, p_j)/tau} + sum_j sum_k e^{s(a_i, n_jk)/tau})

InfoNCE of sentences, by the cosine. Equal texts of a batch are no negatives of one another. A batch larger than the memory holds is
encoded in pieces (the run's ``micro_batch_size``), each of which is encoded again when its gradient is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from counterpoint.data.sentence_pairs.items import SentencePairs
from counterpoint.methods.base import Search
from counterpoint.methods.sentences import SentenceMethod
from counterpoint.objectives.contrast.sentence_ranking import sentence_ranking
from counterpoint.phases.sentence_pairs.training import refuse_form
from counterpoint.training import Run


@dataclass(kw_only=True)
class MultipleNegatives(SentenceMethod):
    """Settings of multiple negatives ranking.

    Attributes:
        temperature: tau; 0.05 is a scale of 20.
        symmetric: each positive finds its anchor, too, and both losses are averaged.
        hard_negatives: use those of the rows beside those of the batch.
        mask_repeats: texts equal to the anchor, to its positive, or belonging to either elsewhere in the batch are no negatives; False
            counts them.
        encoding, batch_size, epochs, learning_rate, optimizer: as of every ``SentenceMethod``, with larger batches.
    """

    key: ClassVar[str] = "multiple-negatives"
    contrasts: ClassVar[dict[str, str]] = {"sentence-pairs": "batch_size"}
    search: ClassVar[Search] = {"temperature": (0.01, 0.2), "learning_rate": (1e-6, 1e-3)}

    temperature: float = 0.05
    symmetric: bool = False
    hard_negatives: bool = True
    mask_repeats: bool = True
    batch_size: int = 64

    def fit(self, model: nn.Module, data: SentencePairs, run: Run) -> nn.Module:
        """Train and return the encoder."""
        refuse_form(self.key, data, scored=False)
        self.demand(above_zero=["temperature"])
        encoder = self.encoding.applied(model)
        for batch in self.batches(
            run, encoder, data, mask_repeats=self.mask_repeats, negatives=self.hard_negatives
        ):
            run.step(
                sentence_ranking(
                    batch.anchors,
                    batch.positives,
                    batch.negatives,
                    temperature=self.temperature,
                    symmetric=self.symmetric,
                    candidates=batch.candidates,
                    offset=batch.offset,
                    texts=batch.texts,
                )
            )
        return encoder
