"""Pairs of sentences once they are loaded: an anchor and its positive, with negatives or with a score. N rows, K negatives of each."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from counterpoint.data.text.split import text_key


@dataclass(frozen=True)
class PairRows:
    """One split, or a batch of one: ``len()`` and rows by a LongTensor, as the Run's batches want it.

    Attributes:
        anchors, positives: N texts each; of scored pairs the first and the second sentence.
        negatives: of each row K texts, K the same for all; () where there are none.
        scores: [N] float32, how alike the two sentences are; [0] where rows have none.
    """

    anchors: tuple[str, ...]
    positives: tuple[str, ...]
    negatives: tuple[tuple[str, ...], ...]
    scores: Tensor = field(default_factory=lambda: torch.zeros(0))

    def __len__(self) -> int:
        return len(self.anchors)

    def __getitem__(self, index: Tensor) -> PairRows:
        rows = index.tolist()
        return PairRows(
            tuple(self.anchors[row] for row in rows),
            tuple(self.positives[row] for row in rows),
            tuple(self.negatives[row] for row in rows),
            self.scores[index] if len(self.scores) else self.scores,
        )

    @property
    def columns(self) -> list[tuple[str, ...]]:
        """Anchors, positives and each column of negatives, N texts each."""
        return [self.anchors, self.positives, *zip(*self.negatives)]


@dataclass(frozen=True)
class SentencePairs:
    """Three splits of one form.

    Attributes:
        num_negatives: K. scored: whether rows have scores.
    """

    train: PairRows
    validation: PairRows
    test: PairRows
    num_negatives: int = 0
    scored: bool = False
    name: str = "sentence pairs"
    notes: tuple[str, ...] = ()

    def splits(self) -> dict[str, PairRows]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def texts(self) -> list[str]:
        """Every different text of the training split, sorted."""
        return sorted({text for column in self.train.columns for text in column})

    def fingerprint(self) -> str:
        """Sha256 of all texts and scores in their splits."""
        digest = hashlib.sha256()
        for name, part in self.splits().items():
            text = repr((name, part.anchors, part.positives, part.negatives))
            digest.update(text.encode("utf-8", "surrogatepass"))
            digest.update(part.scores.numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> list[str]:
        """What was understood, one finding per line."""
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.splits().items())
        return [f"{self.name}: {counts}; {self._form()}", *self._example(), *self._doubles(), *self.notes]

    def _form(self) -> str:
        if self.scored:
            low, high = float(self.train.scores.min()), float(self.train.scores.max())
            return f"pairs of sentences with scores from {low:g} to {high:g}"
        if self.num_negatives:
            several = "a negative" if self.num_negatives == 1 else f"{self.num_negatives} negatives"
            return f"an anchor, a positive and {several} a row"
        return "an anchor and a positive a row; the negatives are those of the batch"

    def _example(self) -> list[str]:
        def short(text: str) -> str:
            return f"'{text[:57]}...'" if len(text) > 60 else f"'{text}'"

        row = self.train[torch.tensor([0])]
        shown = f"such as {short(row.anchors[0])} with {short(row.positives[0])}"
        if self.scored:
            return [f"{shown}, {float(row.scores[0]):g}"]
        return [shown + "".join(f", not {short(text)}" for text in row.negatives[0][:1])]

    def _doubles(self) -> list[str]:
        """What repeats within training, and what stands in two splits."""
        lines = []
        train = self.train
        anchors = Counter(map(text_key, train.anchors))
        positives = Counter(map(text_key, train.positives))
        often = [sum(count for count in each.values() if count > 1) for each in (anchors, positives)]
        if any(often) and not self.scored:
            lines.append(
                f"{often[0]} training rows share their anchor and {often[1]} their positive with another; where such rows meet in a batch they "
                "are no negatives of one another (the setting mask_repeats)"
            )
        seen = anchors + positives
        shared = [
            sum(text_key(a) in seen or text_key(p) in seen for a, p in zip(part.anchors, part.positives))
            for part in (self.validation, self.test)
        ]
        if any(shared):
            lines.append(
                f"warning: a sentence of {shared[0]} validation and of {shared[1]} test rows is in train, too"
            )
        return lines
