"""What methods that learn from pairs of sentences share: their settings, and one way to go through the batches.

A baseline of sentences derives from ``SentenceMethod``; a method of images that takes sentences, too, has the group ``Sentences``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from torch import nn

from counterpoint.data.sentence_pairs.items import SentencePairs
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method
from counterpoint.methods.optimization import Linear
from counterpoint.models.sentence_pairs.encoder import SentenceEncoder
from counterpoint.phases.sentence_pairs.training import Embedded, Encoding, embedded_batches
from counterpoint.training import Run


@dataclass(kw_only=True)
class SentenceMethod(Method[nn.Module, SentencePairs]):
    """Settings of every baseline that trains a sentence encoder.

    Attributes:
        encoding: pooling, length and prompts.
        batch_size: rows per step. epochs: without a budget. learning_rate: of all weights.
        optimizer: its rule and schedule.
    """

    encoding: Encoding = field(default_factory=Encoding)
    batch_size: int = 16
    epochs: float = 1.0
    learning_rate: float = 2e-5
    optimizer: Linear = field(default_factory=Linear)

    def batches(
        self,
        run: Run,
        encoder: SentenceEncoder,
        data: SentencePairs,
        *,
        mask_repeats: bool = False,
        negatives: bool = True,
    ) -> Iterator[Embedded]:
        """Optimise the encoder and embed batch by batch, as ``embedded_batches``."""
        return embedded_batches(
            run, encoder, data, self.optimizer.at(self.learning_rate), batch_size=self.batch_size, epochs=self.epochs,
            mask_repeats=mask_repeats, negatives=negatives,
        )  # fmt: skip


@dataclass
class Sentences(Encoding):
    """Contrast of sentences by a method of images, as a group of its settings: none of its others for training is read.

    Attributes:
        temperature: tau. hard_negatives: use those of the rows beside those of the batch.
        mask_repeats: texts equal to the anchor, to its positive, or belonging to either elsewhere in the batch are no negatives.
        batch_size: rows per step. epochs: without a budget.
        learning_rate, warmup, weight_decay: of AdamW, the rate falling linearly.
    """

    temperature: float = 0.05
    hard_negatives: bool = True
    mask_repeats: bool = True
    batch_size: int = 64
    epochs: float = 1.0
    learning_rate: float = 2e-5
    warmup: float = 0.1
    weight_decay: float = 0.0

    def batches(
        self, run: Run, encoder: SentenceEncoder, data: SentencePairs, *, drop_last: bool = False
    ) -> Iterator[Embedded]:
        """Optimise the encoder and embed batch by batch, as ``embedded_batches``."""
        rule = Linear(warmup=self.warmup, weight_decay=self.weight_decay)
        return embedded_batches(
            run, encoder, data, rule.at(self.learning_rate), batch_size=self.batch_size, epochs=self.epochs,
            mask_repeats=self.mask_repeats, negatives=self.hard_negatives, drop_last=drop_last,
        )  # fmt: skip


def refuse_settings(
    key: str,
    changed: Iterable[str],
    *,
    shared: Collection[str],
    sentences: bool,
    group: type[Sentences] = Sentences,
) -> None:
    """Refuse settings of images on sentences, and of sentences on images: they would change nothing.

    Args:
        changed: names of settings that are not the defaults. shared: those that count for both. sentences: whether data are of sentences.
        group: the settings of sentences.

    Raises:
        CounterpointError: with the setting, and the one that counts.
    """
    fields = group.__dataclass_fields__
    for name in changed:
        inner = name.startswith("sentences.")
        if inner and not sentences:
            raise CounterpointError(
                f"{key}: {name} is of sentence pairs, and these data are images; leave it out"
            )
        if sentences and not inner and name not in shared:
            own = f"sentences.{name}"
            meant = f"give {own}" if name in fields else "leave it out"
            raise CounterpointError(
                f"{key}: {name} is of images, and these data are pairs of sentences; {meant}"
            )
