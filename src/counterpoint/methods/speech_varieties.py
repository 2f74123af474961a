"""Speech varieties (arXiv 2406.15862): a speech encoder fine-tuned to tell varieties apart, with a contrastive term on labels.

    l_i = -log softmax(W e_i + b)[y_i] + w * contrast_i(e / ||e||, y)        (joint fine-tuning)

e_i is the mean of clip i's frame states. The term pulls clips of one class together and pushes the others away, either
beside the cross-entropy or alone in a first half of the training, after which the head is trained with everything else.
Only the contrastive term sees vectors of length 1; the head reads them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from counterpoint.data.audio.load import Audio
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.audio.prepare import rate_for, speech_classifier
from counterpoint.objectives.labels.class_contrast import class_contrast
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.class_batches import ClassBatches
from counterpoint.pairs.sound_views import roughened
from counterpoint.training import Optimizer, Run
from counterpoint.training.batches import Batch


@dataclass(kw_only=True)
class SpeechVarieties(Method[nn.Module, Audio]):
    """Settings of speech varieties.

    Attributes:
        contrast: the contrastive term: "supcon", "triplet", "multi-similarity" or "multi-similarity+miner".
        use: "joint", beside the cross-entropy; or "pretraining": the term alone, then the cross-entropy alone.
        weight: w of the term in joint training.
        temperature: tau of "supcon". margin: of "triplet".
        projection: width of a linear layer that only the contrastive term looks through; 0 for none. It is not kept.
        freeze: "front" keeps a pretrained encoder's first convolutions, "encoder" all of it, "nothing" trains all.
        adapter: width of a linear layer between encoder and head, which a frozen encoder's vectors are shaped by.
        batch_size, epochs, learning_rate, weight_decay: of the training by AdamW, a tenth of it warm-up, then linear
            decay; for each part of it with "pretraining". Rate None: 3e-5 for a pretrained encoder, else 1e-3.
        per_class: clips of each class in a batch, of different groups where that is possible.
        noise: largest level of white noise added in training, relative to the clip's own; 0 leaves clips alone.
    """

    key: ClassVar[str] = "speech-varieties"
    search: ClassVar[Search] = {"learning_rate": (1e-5, 1e-3), "weight": [0.3, 1.0, 3.0]}
    ablations: ClassVar[Ablations] = {
        "labels alone": {"weight": 0.0},
        "contrast before training, not in it": {"use": "pretraining"},
        "supervised contrast": {"contrast": "supcon"},
        "frozen encoder": {"freeze": "encoder"},
    }

    contrast: Literal["supcon", "triplet", "multi-similarity", "multi-similarity+miner"] = "multi-similarity"
    use: Literal["joint", "pretraining"] = "joint"
    weight: float = 1.0
    temperature: float = 0.1
    margin: float = 0.2
    projection: int = 0
    freeze: Literal["nothing", "front", "encoder"] = "front"
    adapter: int = 0
    batch_size: int = 32
    per_class: int = 4
    epochs: float = 15
    learning_rate: float | None = None
    weight_decay: float = 0.01
    noise: float = 0.0

    def fit(self, model: nn.Module, data: Audio, run: Run) -> nn.Module:
        """Train and return the encoder with its head."""
        if self.freeze == "encoder" and not self.adapter:
            raise CounterpointError(
                "freeze=encoder leaves the contrastive term nothing to shape: give adapter=128 (a layer between encoder and "
                "head), or freeze=front"
            )
        net = speech_classifier(model, data.classes, run.seed, self.freeze, self.adapter)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            look = nn.Linear(net.num_features, self.projection) if self.projection else nn.Identity()
        whole = run.state(model=nn.ModuleDict({"spoken": net, "projection": look}))
        parts = ["contrast", "label"] if self.use == "pretraining" else ["joint"]
        rule = Optimizer(
            learning_rate=self.learning_rate or rate_for(net.encoder),
            weight_decay=self.weight_decay,
            schedule="linear",
            warmup=0.1,
        )
        for name in parts:
            run.optimize(whole, rule, name=name)
        part = data.train
        order = ClassBatches(part.labels, self.batch_size, self.per_class, part.groups)
        # Two rounds share a budget evenly; one loop without rounds sees the very batches of audio-classifier.
        for number in run.rounds(2) if len(parts) == 2 else [0]:
            for batch in run.batches(
                part, self.batch_size, epochs=self.epochs, drop_last=len(part) >= self.batch_size, order=order
            ):
                run.step(
                    self._losses(whole, batch, parts[number], part.longest, run), optimizer=parts[number]
                )
        return net

    def _losses(
        self, whole: nn.ModuleDict, batch: Batch, part: str, longest: int, run: Run
    ) -> dict[str, Tensor | Loss]:
        clips = batch.items
        waves = roughened(clips.waves, clips.lengths, batch.random, self.noise, longest)
        vectors, scores = run.forward(whole["spoken"], waves, clips.lengths, classify=True)
        terms: dict[str, Tensor | Loss] = {}
        if part != "contrast":
            terms["label"] = cross_entropy(scores, clips.labels, reduction="none")
        if part != "label":
            looked = whole["projection"](vectors)
            alone = run.world == 1
            term = class_contrast(
                self.contrast,
                looked,
                clips.labels,
                temperature=self.temperature,
                margin=self.margin,
                candidates=None if alone else run.gather(looked),
                candidate_labels=None if alone else run.gather_constant(clips.labels),
                offset=batch.offset,
            )
            terms["contrast"] = replace(term, weight=self.weight if part == "joint" else 1.0)
        return terms
