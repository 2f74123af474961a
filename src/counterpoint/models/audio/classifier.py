"""A speech encoder with a linear head over named classes; saved as the encoder's folder plus ``head/``. N clips, D features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models.audio.encoder import SpeechEncoder
from counterpoint.models.model_folders import Saved, state


class SpeechHead(Saved):
    """Optional adapter (linear, D to ``adapter`` features) and class scores on its output.

    The adapter is what training can shape when the encoder is frozen; without it the vectors are the encoder's own.
    """

    whole = False

    def __init__(self, num_features: int, classes: Sequence[str], adapter: int = 0) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.width = adapter or num_features
        self.adapter = nn.Linear(num_features, adapter) if adapter else nn.Identity()
        self.linear = nn.Linear(self.width, len(self.classes))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """[N, D] -> vectors [N, width] and scores [N, classes]."""
        vectors = self.adapter(vectors)
        return vectors, self.linear(vectors)


class SpeechClassifier(nn.Module):
    """An encoder with a head. Calling it gives vectors [N, width]; ``classify=True`` vectors and scores [N, classes]."""

    def __init__(self, encoder: SpeechEncoder, head: SpeechHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    @property
    def num_features(self) -> int:
        """Width of the vectors."""
        return self.head.width

    @property
    def sample_rate(self) -> int:
        """Samples per second of the waveforms it expects."""
        return self.encoder.sample_rate

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the scores."""
        return self.head.classes

    def forward(
        self, waves: Tensor, lengths: Tensor, classify: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """[N, S], [N] -> vectors, or vectors and scores."""
        vectors, scores = self.head(self.encoder(waves, lengths))
        return (vectors, scores) if classify else vectors

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder's ordinary folder with the head's in ``head/``."""
        whole: Any = self.encoder
        whole.save_pretrained(folder)
        self.head.save_pretrained(Path(folder) / "head")
        state(folder, self)

    @classmethod
    def fresh(
        cls, encoder: SpeechEncoder, classes: Sequence[str], seed: int, adapter: int = 0
    ) -> SpeechClassifier:
        """A classifier whose head is drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(encoder, SpeechHead(encoder.num_features, list(classes), adapter))

    @classmethod
    def open(cls, encoder: SpeechEncoder, folder: Path, classes: Sequence[str]) -> SpeechClassifier:
        """A classifier with the head in ``folder``.

        Raises:
            CounterpointError: it knows other classes than the data has.
        """
        return cls(encoder, SpeechHead.from_pretrained(folder)).for_classes(classes, folder)

    def for_classes(self, classes: Sequence[str], folder: Path) -> SpeechClassifier:
        """This model, for data of its own classes; ``folder`` is where its head came from.

        Raises:
            CounterpointError: it knows other classes than the data has.
        """
        if self.classes != tuple(classes):
            raise CounterpointError(
                f"{folder} tells apart {', '.join(self.classes[:12])}; the data has {', '.join(list(classes)[:12])}: give data with "
                "the same classes, or start from the encoder alone (without head/)"
            )
        return self
