"""A plain text classifier: an encoder and a linear head, trained on the labels. What text methods are compared with.

l_i = -log softmax(W z_i + b)_y,   or with several labels a text the mean over classes of BCE(sigmoid(W z_i + b), y)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn
from torch.nn.functional import cross_entropy

from counterpoint.data.text.load import Texts
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method, Search
from counterpoint.models.text.encoder import coded_rows, with_linear_head
from counterpoint.objectives.labels.label_match import label_match
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class SupervisedText(Method[nn.Module, Texts]):
    """Settings of plain classification.

    Attributes:
        loss: "ce", "bce", or "auto": "ce" where a text has one label, else "bce".
        positive_weight: factor of true labels in "bce".
        batch_size, epochs, learning_rate, weight_decay, schedule, warmup: of the training with AdamW. 2e-5 to 5e-5 suit a
            pretrained transformer, about 1e-3 word vectors from scratch.
        dropout: on the sentence vector.
    """

    key: ClassVar[str] = "text-classifier"
    search: ClassVar[Search] = {"learning_rate": (2e-5, 1e-2), "epochs": [5, 10, 20]}

    loss: Literal["auto", "ce", "bce"] = "auto"
    positive_weight: float = 1.0
    batch_size: int = 32
    epochs: float = 10
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    schedule: Literal["constant", "cosine", "linear"] = "linear"
    warmup: float = 0.06
    dropout: float = 0.1

    def fit(self, model: nn.Module, data: Texts, run: Run) -> nn.Module:
        """Train on the labelled texts and return the classifier."""
        loss = ("bce" if data.multi_label else "ce") if self.loss == "auto" else self.loss
        if loss == "ce" and data.multi_label:
            raise CounterpointError(
                f"loss=ce chooses one class, but {data.name} has texts with several labels; use loss=bce"
            )
        labelled = data.train.with_labels()
        if not len(labelled):
            raise CounterpointError(
                f"{data.name} has no labelled training texts; give labels, or pretrain with contrastive-primer"
            )
        net = run.state(
            model=with_linear_head(model, data.classes, data.multi_label, run.seed, self.dropout).train()
        )
        run.optimize(
            net,
            Optimizer(
                name="adamw",
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                schedule=self.schedule,
                warmup=self.warmup,
                max_grad_norm=1.0,
            ),
        )
        rows = coded_rows(net, labelled.texts, labelled.targets, labelled.labelled)
        for batch in run.batches(rows, self.batch_size, epochs=self.epochs):
            logits = run.forward(net, batch.items.ids, batch.items.mask, out="logits")
            targets = batch.items.targets
            if loss == "ce":
                run.step(cross_entropy(logits, targets.argmax(1), reduction="none"))
            else:
                run.step(label_match(logits, targets, positive_weight=self.positive_weight))
        return net
