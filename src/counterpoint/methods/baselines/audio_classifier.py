"""A classifier of clips trained by cross-entropy alone: what speech-varieties is compared with.

l_i = -log softmax(W e_i + b)[y_i],    e_i the mean of clip i's frame states
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn
from torch.nn.functional import cross_entropy

from counterpoint.data.audio.load import Audio
from counterpoint.methods.base import Method, Search
from counterpoint.models.audio.prepare import rate_for, speech_classifier
from counterpoint.pairs.class_batches import ClassBatches
from counterpoint.pairs.sound_views import roughened
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class AudioClassifier(Method[nn.Module, Audio]):
    """Settings of the plain classifier.

    Attributes:
        freeze: "front" keeps a pretrained encoder's first convolutions, "encoder" all of it, "nothing" trains all.
        adapter: width of a linear layer between encoder and head; 0 for none.
        batch_size, epochs, learning_rate, weight_decay: of the training by AdamW, a tenth of it warm-up, then linear
            decay. Rate None: 3e-5 for a pretrained encoder, 1e-3 for one from nothing.
        per_class: clips of each class in a batch, of different groups where that is possible.
        noise: largest level of white noise added in training, relative to the clip's own; 0 leaves clips alone.
    """

    key: ClassVar[str] = "audio-classifier"
    search: ClassVar[Search] = {"learning_rate": (1e-5, 1e-3)}

    freeze: Literal["nothing", "front", "encoder"] = "front"
    adapter: int = 0
    batch_size: int = 32
    per_class: int = 4
    epochs: float = 15
    learning_rate: float | None = None
    weight_decay: float = 0.01
    noise: float = 0.0

    def fit(self, model: nn.Module, data: Audio, run: Run) -> nn.Module:
        """Train and return the encoder with its head; a classifier of the same classes goes on from its own."""
        part = data.train
        net = run.state(model=speech_classifier(model, data.classes, run.seed, self.freeze, self.adapter))
        rate = self.learning_rate or rate_for(net.encoder)
        run.optimize(
            net,
            Optimizer(learning_rate=rate, weight_decay=self.weight_decay, schedule="linear", warmup=0.1),
        )
        order = ClassBatches(part.labels, self.batch_size, self.per_class, part.groups)
        for batch in run.batches(
            part, self.batch_size, epochs=self.epochs, drop_last=len(part) >= self.batch_size, order=order
        ):
            clips = batch.items
            waves = roughened(clips.waves, clips.lengths, batch.random, self.noise, part.longest)
            _, scores = run.forward(net, waves, clips.lengths, classify=True)
            run.step({"label": cross_entropy(scores, clips.labels, reduction="none")})
        return net
