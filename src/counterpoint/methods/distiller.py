"""Distiller (arXiv 2109.11105): a text classifier distilled into a smaller one, by a pipeline of exchangeable choices.

    L = w_p l_p(z_s, z_t) + w_i sum_ij m_ij l_i(H_i^s, H_j^t) + w_h CE(z_s, y)

Which loss compares hidden states, which layers are compared, how predictions are, and how texts are augmented: every usual loss
of states is a lower bound of their mutual information, and MI-alpha a bound of choosable bias and variance. The teacher labels
whatever augmentation makes. Where the teacher is an encoder alone, it is first fine-tuned on the labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from counterpoint.data.text.load import Texts
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.text import folder as text_folder
from counterpoint.models.text.encoder import TextClassifier, coded, with_linear_head
from counterpoint.models.text.transformer import TransformerText, open_transformer
from counterpoint.objectives.distillation.layer_map import Mapping
from counterpoint.objectives.distillation.layer_states import prediction_loss
from counterpoint.objectives.reduction import Loss
from counterpoint.phases.distillation.layer_match import FIRST_TOKEN, Kind, LayerMatch
from counterpoint.phases.distillation.text_rows import (
    Augment,
    Both,
    augmented_rows,
    cost,
    hard_loss,
    mixed_rows,
    predicted,
)  # fmt: skip
from counterpoint.tasks.stock import topic_reader
from counterpoint.training import Optimizer, Run
from counterpoint.training.seeds import derive


@dataclass
class Teacher:
    """Who is learnt from.

    Attributes:
        model: a text classifier's folder with the data's classes, as ``text-classifier`` writes it; or an encoder's folder or
            bundled name, which is fine-tuned on the labels first; or "topic-reader", a small one of the bundled quotations.
        epochs, learning_rate: of that fine-tuning.
    """

    model: str = "minilm-l6"
    epochs: float = 3
    learning_rate: float = 5e-5


@dataclass
class Weights:
    """Of the terms.

    Attributes:
        prediction, intermediate, hard: w_p, w_i, w_h.
    """

    prediction: float = 1.0
    intermediate: float = 1.0
    hard: float = 0.0


@dataclass
class Training:
    """By AdamW, its rate falling linearly after a warm-up.

    Attributes:
        batch_size, epochs, learning_rate, weight_decay, warmup, max_grad_norm: of it.
    """

    batch_size: int = 32
    epochs: float = 20
    learning_rate: float = 5e-5
    weight_decay: float = 0.1
    warmup: float = 0.1
    max_grad_norm: float = 1.0


@dataclass(kw_only=True)
class Distiller(Method[nn.Module, Texts]):
    """Settings of Distiller; shapes: B texts, L tokens, C classes.

    Attributes:
        loss: of hidden states: "mse", "ce", "cosine" (token by token), "pkd", "mi" (of the first token), or "none".
        alpha: of "mi", from 0 (unbiased, of high variance) to 1 (InfoNCE-like).
        mapping: "skip" spreads the student's layers over the teacher's, "last" takes its last ones, "emd" weighs all pairs by optimal
            transport.
        prediction: "ce" or "mse", of logits. temperature: divides those of both models.
        teacher, weights, augment, training: see there.
    """

    key: ClassVar[str] = "distiller"
    search: ClassVar[Search] = {
        "loss": ["mse", "ce", "cosine", "pkd", "mi"],
        "alpha": [0.0, 0.1, 0.5, 0.9, 1.0],
        "mapping": ["skip", "last", "emd"],
        "prediction": ["ce", "mse"],
        "augment.mixup": [False, True],
    }
    ablations: ClassVar[Ablations] = {
        "without intermediate layers": {"loss": "none"},
        "mean squared error of layers": {"loss": "mse"},
        "the last layers alone": {"mapping": "last"},
        "transport between layers": {"mapping": "emd"},
        "with swapped words": {"augment.swap": True},
        "with mixup": {"augment.mixup": True},
    }
    taught_by: ClassVar[str] = "teacher.model"
    untaught: ClassVar[dict[str, Any]] = {
        "loss": "none",
        "weights.prediction": 0.0,
        "weights.hard": 1.0,
        "augment.mixup": False,
    }

    loss: Kind = "mi"
    alpha: float = 0.9
    mapping: Mapping = "skip"
    prediction: Literal["ce", "mse"] = "ce"
    temperature: float = 1.0
    teacher: Teacher = field(default_factory=Teacher)
    weights: Weights = field(default_factory=Weights)
    augment: Augment = field(default_factory=Augment)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        """Refuse what no pipeline can have."""
        super().__post_init__()
        self.demand(above_zero=("temperature", "training.max_grad_norm"))
        if self.alpha > 1 or self.augment.share > 1 or len(self.augment.back_translation) not in (0, 2):
            raise CounterpointError(
                f"{self.key}: alpha={self.alpha}, augment.share={self.augment.share}, "
                f"augment.back_translation={self.augment.back_translation}; expected shares from 0 to 1, and two translators or none"
            )

    def fit(self, model: nn.Module, data: Texts, run: Run) -> nn.Module:
        """Fine-tune the teacher where it needs it, then train the student and return it."""
        if data.multi_label and self.prediction == "ce":
            raise CounterpointError(
                f"prediction=ce chooses one class, but {data.name} has texts with several labels; use prediction=mse"
            )
        student = with_linear_head(model, data.classes, data.multi_label, run.seed).train()
        given, ready = self._teacher(data)
        teacher = with_linear_head(given, data.classes, data.multi_label, derive(run.seed, "teacher") % 2**31)
        (own_layers, own_width), (layers, width) = sizes(student), sizes(teacher)
        net = run.state(model=student)
        teacher = run.constant(teacher) if ready else run.state(teacher=teacher)
        trained = nn.ModuleDict({"net": net})
        if self.loss != "none":
            match = LayerMatch(
                self.loss, self.mapping, (own_layers, layers), (own_width, width), self.alpha, run.seed
            )
            trained["match"] = run.state(match=match)
        rows = self._rows(net, teacher, data, run)
        for r in run.rounds(1 if ready else 2):
            if r == 0 and not ready:
                self._fine_tune(teacher, data, run)
                continue
            self._distil(trained, teacher.eval(), rows, data, run)
        run.report(**cost("teacher", teacher, rows.teacher), **cost("student", net, rows.student))
        return net

    def _teacher(self, data: Texts) -> tuple[nn.Module, bool]:
        """The teacher, and whether it knows the classes already."""
        path = Path(self.teacher.model)
        opened: nn.Module
        if path.is_dir():
            opened = text_folder.load(path)
        else:
            stock = self.teacher.model == topic_reader.NAME
            opened = topic_reader.load() if stock else open_transformer(self.teacher.model)
        ready = isinstance(opened, TextClassifier)
        if ready and set(cast(TextClassifier, opened).classes) != set(data.classes):
            raise CounterpointError(
                f"the teacher in {path} classifies {', '.join(cast(TextClassifier, opened).classes[:4])}..., and {data.name} has "
                f"{', '.join(data.classes[:4])}...; train one by text-classifier on these data, or give an encoder"
            )
        if ready and cast(TextClassifier, opened).classes != tuple(data.classes):
            raise CounterpointError(
                f"the teacher in {path} has the classes of {data.name} in another order; train it again on these data"
            )
        return opened, ready

    def _rows(self, student: nn.Module, teacher: nn.Module, data: Texts, run: Run) -> Both:
        """Training texts and their copies as both models read them; copies have no label."""
        rows = augmented_rows(student, teacher, data, self.augment, run)
        if self.loss not in (*FIRST_TOKEN, "none") and not rows.alike:
            raise CounterpointError(
                f"loss={self.loss} compares tokens one by one, and student and teacher cut texts into different ones; give "
                f"loss={' or '.join(FIRST_TOKEN)}, or a student with the teacher's tokenizer, such as --model minilm-l6:2"
            )
        return rows

    def _fine_tune(self, teacher: nn.Module, data: Texts, run: Run) -> None:
        """The teacher learns the labels."""
        labelled, how = data.train.with_labels(), self.training
        if not len(labelled):
            raise CounterpointError(
                f"{data.name} has no labelled training texts to fine-tune {self.teacher.model} on; give a classifier as teacher.model"
            )
        rows = coded(teacher, labelled.texts, labelled.targets, labelled.labelled)
        teacher.train()
        run.optimize(teacher, self._rule(self.teacher.learning_rate))
        for batch in run.batches(rows, how.batch_size, epochs=self.teacher.epochs):
            logits = run.forward(teacher, batch.items.ids, batch.items.mask, out="logits")
            run.step(hard_loss(logits, batch.items.targets, data.multi_label))

    def _distil(self, trained: nn.ModuleDict, teacher: nn.Module, rows: Both, data: Texts, run: Run) -> None:
        """The student's own training."""
        how, net, weights = self.training, trained["net"], self.weights
        run.optimize(trained, self._rule(how.learning_rate))
        whole = len(rows) >= how.batch_size
        for batch in run.batches(rows, how.batch_size, epochs=how.epochs, drop_last=whole):
            mine, theirs, repeats = batch.items.student, batch.items.teacher, 1
            mixed: tuple[Tensor | None, Tensor | None] = (None, None)
            if self.augment.mixup:
                mine, theirs, mixed = mixed_rows(net, teacher, batch, rows)
                repeats = 2
            states = run.forward(net, mine.ids, mine.mask, embedded=mixed[0], out="layers")
            logits = predicted(net, states, mine.mask)
            with torch.no_grad():
                teacher_states = run.forward(
                    teacher, theirs.ids, theirs.mask, embedded=mixed[1], out="layers"
                )
                answer = predicted(teacher, teacher_states, theirs.mask)
            terms = {
                "prediction": Loss(
                    prediction_loss(logits, answer, self.prediction, self.temperature),
                    weight=weights.prediction,
                )
            }
            if "match" in trained:
                between = trained["match"](states, teacher_states, mine.mask, run, repeats * run.row_offset)
                terms["intermediate"] = Loss(between.values, between.counts, weight=weights.intermediate)
            if weights.hard:
                labelled = batch.items.student.labelled.to(logits.dtype)
                values = hard_loss(logits[: len(labelled)], batch.items.student.targets, data.multi_label)
                terms["hard"] = Loss(values * labelled, counts=labelled, weight=weights.hard)
            run.step(terms)

    def _rule(self, rate: float) -> Optimizer:
        how = self.training
        return Optimizer(
            name="adamw", learning_rate=rate, weight_decay=how.weight_decay, schedule="linear", warmup=how.warmup,
            max_grad_norm=how.max_grad_norm,
        )  # fmt: skip


def sizes(classifier: TextClassifier) -> tuple[int, int]:
    """Layers of a transformers encoder, and the width of their states.

    Raises:
        CounterpointError: an encoder of another make.
    """
    encoder = classifier.encoder
    if not isinstance(encoder, TransformerText):
        raise CounterpointError(
            f"{type(encoder).__name__} has no layers to compare; give a transformers encoder, such as --model minilm-l6:2"
        )
    return int(encoder.config.num_hidden_layers), encoder.state_width
