"""Vega v1: a bag of tricks for pretraining a text encoder and tuning it on a task (arXiv 2302.09268).

    pretraining   L_MLM + lambda L_RTD,  then the same + beta L_CL      (replaced tokens; two dropout views of a sentence)
    tuning        CE + mu SCE(f(n + delta), f(n))                       (adversarial, on normalised embeddings)
    before it     labels mended by models that never saw them           (self-calibrated)
    after it      + w CE on confident own predictions for the inputs    (transductive)

Every trick is a switch. Only the abstract of the report names them; their form here is that of the public code and papers they
build on, and the page says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from counterpoint.data.text.load import Texts
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.groups import value_of
from counterpoint.models.environment.replay import Replay
from counterpoint.models.text.detector import Detector
from counterpoint.models.text.encoder import Coded, check_classes, coded, encoder_of, with_linear_head
from counterpoint.objectives.contrast.infonce import info_nce
from counterpoint.objectives.labels.adversarial import symmetric_cross_entropy
from counterpoint.objectives.labels.self_labels import pseudo_label_loss
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.repeats import text_repeats
from counterpoint.phases.encoder_tricks import attacked, replaced_tokens, stratified_folds
from counterpoint.phases.own_labels import Calibration, Transduction, calibrated, logits_of, own_labels
from counterpoint.teachers.past import Past
from counterpoint.training import Optimizer, Run


@dataclass
class Pretraining:
    """Two phases on all training texts; the second goes on with the first's loss.

    Attributes:
        replaced_tokens, sentence_contrast: whether there is the first, and the second.
        mask_rate: share of tokens the generator fills. detection_weight: lambda.
        temperature: tau of the contrast. contrast_weight: beta.
        mask_repeats: equal texts of a batch are no negatives of one another in the contrast; False counts them.
        epochs: of each phase, without a budget. learning_rate: of both.
    """

    replaced_tokens: bool = True
    sentence_contrast: bool = True
    mask_rate: float = 0.15
    detection_weight: float = 50.0
    temperature: float = 0.05
    contrast_weight: float = 1.0
    mask_repeats: bool = True
    epochs: float = 10.0
    learning_rate: float = 5e-4


@dataclass
class Adversarial:
    """Answers stay the same under the worst small noise.

    Attributes:
        on: whether they should. weight: mu. step_size: eta. noise: standard deviation of the first noise.
    """

    on: bool = True
    weight: float = 3.0
    step_size: float = 1e-4
    noise: float = 1e-2


@dataclass(kw_only=True)
class Vega(Method[nn.Module, Texts]):
    """Pretrain on the training texts, tune on those with a label. With a run's budget every phase gets an equal share.

    Attributes:
        pretraining: replaced tokens and sentence contrast.
        fine_tuning: learn the labels; without it the pretrained encoder is the result.
        calibration, adversarial, transduction: the three tricks of fine-tuning.
        epochs, learning_rate: of every training of the classifier.
    """

    key: ClassVar[str] = "vega"
    search: ClassVar[Search] = {"learning_rate": (2e-5, 1e-3)}
    ablations: ClassVar[Ablations] = {
        "without replaced tokens": {"pretraining.replaced_tokens": False},
        "without sentence contrast": {"pretraining.sentence_contrast": False},
        "without mended labels": {"calibration.on": False},
        "without adversarial noise": {"adversarial.on": False},
        "without transduction": {"transduction.on": False},
    }
    moved: ClassVar[dict[str, str]] = {
        **{
            name: f"pretraining.{name}"
            for name in (
                "replaced_tokens",
                "sentence_contrast",
                "mask_rate",
                "detection_weight",
                "temperature",
                "contrast_weight",
            )
        },
        "self_calibrated": "calibration.on",
        **{name: f"calibration.{name}" for name in ("folds", "mending", "low", "high", "mix")},
        **{name: f"adversarial.{name}" for name in ("step_size", "noise")},
        "transductive": "transduction.on",
        "inputs": "transduction.inputs",
        "threshold": "transduction.threshold",
        "own_weight": "transduction.weight",
    }

    pretraining: Pretraining = field(default_factory=Pretraining)
    fine_tuning: bool = True
    calibration: Calibration = field(default_factory=Calibration)
    adversarial: Adversarial = field(default_factory=Adversarial)
    transduction: Transduction = field(default_factory=Transduction)
    batch_size: int = 32
    epochs: float = 3.0
    learning_rate: float = 5e-5
    weight_decay: float = 0.01

    def fit(self, model: nn.Module, data: Texts, run: Run) -> nn.Module:
        """Go through the phases; return the classifier, or the encoder when it is not to be tuned."""
        phases = self._phases(data)
        net = encoder_of(model)
        if self.fine_tuning:
            net = with_linear_head(model, data.classes, data.multi_label, run.seed)
        # Taken before the detector divides the table of words between generator and encoder.
        start = Past(net) if "fold" in phases else None
        detector = Detector(encoder_of(net), run.seed) if {"detection", "contrast"} & set(phases) else None
        train = coded(net, data.train.texts, data.train.targets, data.train.labelled)
        full = int((train.mask.sum(1) >= int(net.limit)).sum())  # type: ignore[arg-type]
        if full:
            run.say(
                f"{full} of {len(train)} training texts fill {net.limit} tokens; what goes beyond is cut off"
            )
        labelled = torch.nonzero(train.labelled)[:, 0]
        folds = stratified_folds(train.targets[labelled], self.calibration.folds, run.seed)
        opinions = Replay(
            len(labelled), row=labelled.new_zeros(()), probabilities=torch.zeros(len(data.classes))
        )
        run.state(model=net, opinions=opinions)
        run.state(**{k: v for k, v in {"start": start, "detector": detector}.items() if v is not None})
        for number in run.rounds(len(phases)):
            phase = phases[number]
            if detector is not None and phase in ("detection", "contrast"):
                self._pretrain(run, detector, train, data.train.texts, phase)
                if phases[number + 1 : number + 2] != ["contrast"]:
                    run.once("merge", detector.merge)
                    if start is not None:
                        run.once("start", partial(start.refresh, net))
                continue
            if start is not None and phase in ("fold", "tuning"):
                run.once("anew", partial(start.restore, net))
            if phase == "fold":
                held = torch.nonzero(folds == number - phases.index("fold"))[:, 0]
                self._judge(run, net, data, train, labelled, held, opinions)
                continue
            self._tune(
                run,
                net,
                calibrated(run, train[labelled], opinions, self.calibration),
                own_labels(run, net, data, self.transduction) if phase == "transduction" else None,
            )
        return net

    def _phases(self, data: Texts) -> list[str]:
        """What is done, in order."""
        if not self.fine_tuning and not (
            self.pretraining.replaced_tokens or self.pretraining.sentence_contrast
        ):
            raise CounterpointError(
                "pretraining.replaced_tokens, pretraining.sentence_contrast and fine_tuning are all off, so that nothing is learnt; switch "
                "one on"
            )
        for name in (
            "pretraining.mask_rate",
            "calibration.low",
            "calibration.high",
            "calibration.mix",
            "transduction.threshold",
        ):
            if not 0 < value_of(self, name) <= 1:
                raise CounterpointError(f"{name}={value_of(self, name)}; expected a share above 0, 1 at most")
        if self.calibration.folds < 1:
            raise CounterpointError(
                f"calibration.folds={self.calibration.folds}; expected 1 (judge in-sample) or more, such as 5"
            )
        phases = ["detection"] * self.pretraining.replaced_tokens + [
            "contrast"
        ] * self.pretraining.sentence_contrast
        if not self.fine_tuning:
            return phases
        check_classes(data.classes)
        if data.multi_label:
            raise CounterpointError(
                f"{data.name} has several labels a text, and vega's rules are for one; give data with one label a text, or pretrain "
                "only, with fine_tuning=false"
            )
        labelled = int(data.train.labelled.sum())
        if not labelled:
            raise CounterpointError(
                f"{data.name} has no labelled training texts; give labels, or pretrain only, with fine_tuning=false"
            )
        if self.calibration.on and labelled < max(self.calibration.folds, 2):
            raise CounterpointError(
                f"{labelled} labelled training texts do not fill {self.calibration.folds} folds; give more, lower calibration.folds, or "
                "set calibration.on=false"
            )
        if self.transduction.on and self.transduction.inputs == "unlabelled" and labelled == len(data.train):
            raise CounterpointError(
                "transduction.inputs=unlabelled, and every training text has a label; add texts without one, hide some with "
                "--data-option labelled=100, or use transduction.inputs=test"
            )
        phases += ["fold"] * (self.calibration.folds * self.calibration.on)
        return phases + ["tuning"] + ["transduction"] * self.transduction.on

    def _judge(
        self,
        run: Run,
        net: nn.Module,
        data: Texts,
        train: Coded,
        labelled: Tensor,
        held: Tensor,
        opinions: Replay,
    ) -> None:
        """Note what a classifier that trained on the other folds says of one; a single fold judges what it trained on."""
        others = torch.ones(len(labelled), dtype=torch.bool)
        if self.calibration.folds > 1:
            others[held] = False
        self._tune(run, net, train[labelled[others]])
        logits = logits_of(run, net, [data.train.texts[i] for i in labelled[held].tolist()])
        rows = {"row": held.to(run.device), "probabilities": torch.softmax(logits, 1).to(run.device)}
        run.once("note", lambda: opinions.add(**rows))

    def _pretrain(self, run: Run, detector: Detector, train: Coded, texts: Sequence[str], phase: str) -> None:
        """One phase of pretraining on all training texts, labelled or not."""
        detector.train()
        run.optimize(detector, self._optimizer(self.pretraining.learning_rate))
        whole = len(train) >= self.batch_size
        repeats = text_repeats(texts) if self.pretraining.mask_repeats else None
        for batch in run.batches(
            train, self.batch_size, epochs=self.pretraining.epochs, drop_last=whole, name=phase
        ):
            ids, mask = batch.items.ids, batch.items.mask
            terms: dict[str, Tensor | Loss] = {}
            if self.pretraining.replaced_tokens:
                terms |= replaced_tokens(
                    run, detector, batch, self.pretraining.mask_rate, self.pretraining.detection_weight
                )
            if phase == "contrast":  # the two passes differ by their dropout
                first, second = (run.forward(detector, ids, mask, "sentence") for _ in range(2))
                values = info_nce(
                    first,
                    run.gather(second),
                    temperature=self.pretraining.temperature,
                    offset=run.row_offset,
                    repeats=None
                    if repeats is None
                    else run.gather_constant(repeats[batch.index].to(run.device)),
                )
                terms["contrast"] = Loss(values, weight=self.pretraining.contrast_weight)
            run.step(terms, tokens=int(mask.sum()))

    def _tune(self, run: Run, net: nn.Module, rows: Coded, own: Coded | None = None) -> None:
        """Train the classifier on ``rows``, and beside them on texts with own labels, as many at a time."""
        net.train()
        run.optimize(net, self._optimizer(self.learning_rate))
        for batch in run.batches(rows, self.batch_size, epochs=self.epochs, name="tune"):
            ids, mask = batch.items.ids, batch.items.mask
            logits = run.forward(net, ids, mask, out="logits")
            terms: dict[str, Tensor | Loss] = {
                "label": cross_entropy(logits, batch.items.targets, reduction="none")
            }
            if self.adversarial.on:
                noisy = attacked(run, net, batch, logits, self.adversarial.noise, self.adversarial.step_size)
                terms["adversarial"] = Loss(
                    symmetric_cross_entropy(noisy, logits), weight=self.adversarial.weight
                )
            if own is not None and len(own):
                more = own[batch.random.integers(len(own)).cpu()]
                scores = run.forward(net, more.ids.to(run.device), more.mask.to(run.device), out="logits")
                labels = more.targets.argmax(1).to(run.device)
                terms["own"] = pseudo_label_loss(
                    scores, labels, torch.ones_like(labels).bool(), self.transduction.weight
                )
            run.step(terms, tokens=int(mask.sum()))

    def _optimizer(self, rate: float) -> Optimizer:
        return Optimizer(
            learning_rate=rate,
            weight_decay=self.weight_decay,
            schedule="linear",
            warmup=0.1,
            max_grad_norm=1.0,
        )
