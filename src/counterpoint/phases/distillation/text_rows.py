"""Texts as a student and a teacher read them: copies that are reworded, mixtures of embeddings, predictions, and what a model costs.

B texts, L tokens, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from counterpoint.data.text.load import Texts
from counterpoint.models.text.encoder import Coded, CodedAsRead, TextClassifier, coded_rows, encoder_of
from counterpoint.objectives.labels.label_match import label_match
from counterpoint.pairs.text_augmentation import back_translated, reworded, swapped
from counterpoint.training import Run
from counterpoint.training.seeds import derive

MIXUP = 0.4
"""Both parameters of the Beta distribution of a mixture's share, as in the paper."""


@dataclass
class Augment:
    """What is added to the training texts: one copy of each, changed by those that are on, in this order; and mixtures.

    Attributes:
        contextual: folder or bundled name of a masked language model that rewords a share of the tokens; "" for none.
        back_translation: folders of two translators, there and back; none without.
        swap: whether words change places.
        share: p, of tokens or words that are changed.
        mixup: every text is joined by a mixture of its embeddings with another training text's, for teacher and student alike.
    """

    contextual: str = ""
    back_translation: tuple[str, ...] = ()
    swap: bool = False
    share: float = 0.3
    mixup: bool = False


@dataclass(frozen=True)
class Both:
    """The same texts as student and teacher read them, ``Coded`` or as they are read: ``len()`` and indexing, as the Run's batches want it."""

    student: Any
    teacher: Any

    def __len__(self) -> int:
        return len(self.student)

    def __getitem__(self, index: Tensor) -> Both:
        return Both(self.student[index], self.teacher[index])

    @property
    def alike(self) -> bool:
        """Whether both read the same tokens."""
        one, other = self.student.ids, self.teacher.ids
        return one.shape == other.shape and torch.equal(one, other)


def augmented_rows(student: nn.Module, teacher: nn.Module, data: Texts, how: Augment, run: Run) -> Both:
    """Training texts and their copies as both models read them; copies have no label."""
    texts: Sequence[str] = data.train.texts

    def body() -> list[str]:
        generator, copies = torch.Generator().manual_seed(derive(run.seed, "augment") % 2**31), list(texts)
        if how.contextual:
            copies = reworded(copies, how.contextual, how.share, generator)
        if how.back_translation:
            copies = back_translated(copies, *how.back_translation)
        return swapped(copies, how.share, generator) if how.swap else copies

    targets, labelled = data.train.targets, data.train.labelled
    if how.contextual or how.back_translation or how.swap:
        texts = [*texts, *run.stage("augment", body)]
        targets = torch.cat([targets, torch.zeros_like(targets)])
        labelled = torch.cat([labelled, torch.zeros_like(labelled)])
    mine, theirs = (coded_rows(each, texts, targets, labelled) for each in (student, teacher))
    return Both(mine, theirs)


def mixed_rows(net: Any, teacher: Any, batch: Any, rows: Both) -> tuple[Coded, Coded, tuple[Tensor, Tensor]]:
    """Every row twice: with its own embeddings, and with those of a mixture with another training text's."""
    from scipy.stats import beta

    draws = batch.random.uniform(2).double().cpu()
    partners = (draws[:, 0] * len(rows)).long().clamp(max=len(rows) - 1)
    share = (
        torch.from_numpy(beta.ppf(draws[:, 1].numpy(), MIXUP, MIXUP))
        .float()
        .to(batch.items.student.ids.device)
    )
    both = rows[torch.cat([batch.index, partners])]
    parts, embedded = [], []
    for model, wide in ((net, both.student), (teacher, both.teacher)):
        wide = Coded(*(each.to(share.device) for each in (wide.ids, wide.mask, wide.targets, wide.labelled)))
        own, other = model.embed(wide.ids).chunk(2)
        weight = share[:, None, None]
        embedded.append(torch.cat([own, weight * own + (1 - weight) * other]))
        count = len(own)
        parts.append(
            Coded(
                *(
                    each[:count].repeat(2, *[1] * (each.ndim - 1))
                    for each in (wide.ids, wide.mask, wide.targets, wide.labelled)
                )
            )
        )
    return parts[0], parts[1], (embedded[0], embedded[1].detach())


def predicted(classifier: Any, states: Tensor, mask: Tensor) -> Tensor:
    """[B, C] logits of a classifier whose layers' states [B, M + 1, L, H] were computed."""
    return classifier.head(classifier.encoder.pool(states[:, -1], mask), classifier.encoder)


def hard_loss(logits: Tensor, targets: Tensor, several: bool) -> Tensor:
    """[B] of the labels themselves."""
    if several:
        return label_match(logits, targets, positive_weight=1.0).values
    return cross_entropy(logits, targets.argmax(1), reduction="none")


@torch.no_grad()
def cost(name: str, model: nn.Module, rows: Coded | CodedAsRead, count: int = 16) -> dict[str, float]:
    """What a classifier or an encoder weighs and how long it takes: millions of weights, megabytes, milliseconds a text (the best of three)."""
    weights = sum(p.numel() for p in encoder_of(model).parameters())
    part = rows[torch.arange(min(count, len(rows)))]
    device, training = next(model.parameters()).device, model.training
    model.eval()
    times, out = [], "logits" if isinstance(model, TextClassifier) else "sentence"
    for _ in range(3):
        began = time.perf_counter()
        model(part.ids.to(device), part.mask.to(device), out=out)
        times.append(time.perf_counter() - began)
    model.train(training)
    size = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
    return {
        f"{name}_million_weights": weights / 1e6,
        f"{name}_megabytes": size,
        f"{name}_ms_a_text": 1000 * min(times) / max(len(part), 1),
    }
