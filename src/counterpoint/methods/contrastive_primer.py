"""Contrastive pretraining for text (survey arXiv 2102.12982; its authors' own method, arXiv 2010.01061, by default).

    l(x) = (1 / (g + b)) sum_{a in true + drawn} BCE(sigmoid(s(t, a)), y_a),    s(t, a) = matcher([t; a; t*a; |t - a|])

A text is matched with labels that are texts themselves. Pretraining takes words of the text for true labels and words of
other texts for false ones; fine-tuning takes the classes' names. Encoder, matcher and loss stay the same, so classes can
be ranked by their names before a single label was seen, and few labels go a long way. Every other loss of the survey takes
the place of BCE by its name; those of two views (dropout, hidden words) contrast texts with texts instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from counterpoint.data.text.load import Texts
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.text.encoder import (
    Coded,
    CodedAsRead,
    TextClassifier,
    coded_rows,
    encoder_of,
    passed_over,
)
from counterpoint.models.text.match_head import MatchHead, fresh_match_head
from counterpoint.objectives.contrast.noise_contrast import scored_contrast
from counterpoint.objectives.contrast.view_contrast import VIEWED, view_contrast
from counterpoint.objectives.labels.label_match import label_match
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.repeats import text_repeats
from counterpoint.pairs.views import gather_views
from counterpoint.pairs.words_as_labels import log_shares, occurrences, without_common, word_labels
from counterpoint.training import Optimizer, Run
from counterpoint.training.batches import Batch

Objective = Literal[
    "bce", "infonce", "ranking_nce", "binary_nce", "negative_sampling", "ebm_hinge", "ebm_log", "ebm_square_square",
    "ntxent", "oneway", "symmetric", "supcon", "n_pair", "pair_margin", "triplet_l2", "triplet_cos",
]  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """What words are drawn as labels: words [V] bool that may be, log_share [V] of each among all drawn."""

    words: Tensor
    log_share: Tensor


@dataclass(kw_only=True)
class ContrastivePrimer(Method[nn.Module, Texts]):
    """Settings; shapes: n texts of a batch, g + b words as labels of each, C classes, H sentence width.

    Attributes:
        objective: "bce"; or a loss of scores, "infonce" to "ebm_square_square" (``objectives.noise_contrast``); or of
            two views of each text, "ntxent" to "triplet_cos" (``objectives.view_contrast``), then fine-tuned with "bce".
        pretraining_epochs: passes over all training texts; 0 leaves pretraining out.
        epochs: passes over the labelled texts; 0, or data without labels, leaves fine-tuning out: classes are then ranked by
            their names with the matcher as pretraining left it (untrained, where it contrasted views).
        positives, negatives: g and b, words drawn from the text itself and from the others of the batch.
        common: share of the words that are no labels, the commonest first; for vocabularies with words that say nothing
            about a text ("words" has none, a transformer's has: about 0.01).
        collisions: what a drawn word is that the text has, too: "true", "leave out", or "ignore" to call it false.
        positive_weight: factor of true labels in the BCE of fine-tuning.
        class_negatives: classes drawn for each text as false labels in fine-tuning; 0 for all of them.
        mix: weight of the pretraining loss while fine-tuning.
        hidden: width of the matcher.
        temperature, margin: of the losses that have one.
        hide: share of the words hidden in each view, beside the encoder's dropout.
        mask_repeats: texts of a batch that are equal are no negatives of one another in the losses of two views; False counts them.
        batch_size, learning_rate, tuning_rate: the rates of pretraining and of fine-tuning, with Adam.
    """

    key: ClassVar[str] = "contrastive-primer"
    optional: ClassVar[tuple[str, ...]] = ("epochs",)
    search: ClassVar[Search] = {"tuning_rate": (5e-4, 1e-2), "epochs": [10, 20, 40]}
    ablations: ClassVar[Ablations] = {
        "without pretraining": {"pretraining_epochs": 0},
        "views instead of words": {"objective": "ntxent"},
        "drawn words that a text has are false": {"collisions": "ignore"},
    }

    objective: Objective = "bce"
    pretraining_epochs: float = 8
    epochs: float = 10
    positives: int = 5
    negatives: int = 15
    common: float = 0.0
    collisions: Literal["true", "leave out", "ignore"] = "true"
    positive_weight: float = 10.0
    class_negatives: int = 0
    mix: float = 0.0
    hidden: int = 64
    temperature: float = 0.1
    margin: float = 0.5
    hide: float = 0.0
    mask_repeats: bool = True
    batch_size: int = 64
    learning_rate: float = 2e-3
    tuning_rate: float = 2e-3

    def __post_init__(self) -> None:
        """Refuse a matcher of no width."""
        super().__post_init__()
        self.demand(above_zero=["hidden"])

    def fit(self, model: nn.Module, data: Texts, run: Run) -> nn.Module:
        """Pretrain, then fine-tune where there are labels; return a classifier by label names (an encoder if it saw none)."""
        labelled = bool(data.train.labelled.any())
        repeats = text_repeats(data.train.texts) if self.mask_repeats and self.objective in VIEWED else None
        phases = [partial(self.pretrain, repeats=repeats)] * (self.pretraining_epochs > 0) + [
            partial(self.tune)
        ] * (self.epochs > 0 and labelled)
        if not phases:
            raise CounterpointError(
                f"pretraining_epochs={self.pretraining_epochs}, epochs={self.epochs}, {int(data.train.labelled.sum())} labels: nothing to "
                "train; give pretraining_epochs or epochs above 0, and labels for the latter"
            )
        net = run.state(model=self.classifier(model, data, run.seed).train())
        run.optimize(net, Optimizer(name="adam", learning_rate=self.learning_rate), name="pretraining")
        run.optimize(net, Optimizer(name="adam", learning_rate=self.tuning_rate), name="tuning")
        rows = coded_rows(net, data.train.texts, data.train.targets, data.train.labelled)
        counts = sum(occurrences(part.ids, part.mask, len(net.words)) for part in passed_over(rows))
        words = without_common(counts, net.words.cpu(), self.common)  # type: ignore[arg-type]
        drawn = Drawn(words.to(run.device), log_shares(counts, words).to(run.device))  # type: ignore[arg-type]
        for number in run.rounds(len(phases)):  # a budget is shared evenly between the two
            phases[number](net, rows, drawn, run)
        return net.encoder if self.objective in VIEWED and not labelled else net

    def classifier(self, model: nn.Module, data: Texts, seed: int) -> TextClassifier:
        """The model with a head that reads labels; one that it brings goes on with this data's classes."""
        encoder: Any = encoder_of(model)
        if isinstance(model, TextClassifier) and isinstance(model.head, MatchHead):
            head = model.head.renamed(encoder, data.classes, data.label_texts, data.multi_label)
        else:
            head = fresh_match_head(
                encoder, data.classes, data.label_texts, data.multi_label, seed, hidden=self.hidden
            )
        read: dict[tuple[int, ...], str] = {}
        for name, ids in zip(head.classes, head.label_ids, strict=True):
            other = read.setdefault(tuple(sorted(ids)), name)
            if other != name:
                raise CounterpointError(
                    f"the classes '{other}' and '{name}' read alike: {'they have the same words' if ids else 'no word of theirs is known to the model'}; "
                    "give them names of different words that your texts use, or take text-classifier, which does not read names"
                )
        return TextClassifier(encoder, head)

    def pretrain(
        self,
        net: TextClassifier,
        rows: Coded | CodedAsRead,
        drawn: Drawn,
        run: Run,
        repeats: Tensor | None,
    ) -> None:
        """All training texts, no labels (but in "supcon", which groups by those there are)."""
        groups, width = _groups(rows), rows.width()
        for batch in run.batches(
            rows,
            self.batch_size,
            epochs=self.pretraining_epochs,
            drop_last=len(rows) >= self.batch_size,
            name="pretraining",
        ):
            if self.objective in VIEWED:
                loss = self.views_loss(net, batch, run, groups[batch.index].to(run.device), repeats, width)
            else:
                loss = self.words_loss(net, batch, run, self.sentences(net, batch.items, run), drawn)
            run.step({"pretraining": loss}, optimizer="pretraining")

    def tune(self, net: TextClassifier, rows: Coded | CodedAsRead, drawn: Drawn, run: Run) -> None:
        """The labelled texts against the classes' names."""
        run.once("labels seen", lambda: net.head.seen.fill_(True))  # type: ignore[union-attr, operator]
        for batch in run.batches(rows.with_labels(), self.batch_size, epochs=self.epochs, name="tuning"):
            sentences = self.sentences(net, batch.items, run)
            terms = {"classes": self.classes_loss(net.head(sentences, net.encoder), batch)}
            if self.mix > 0 and batch.size > 1:
                words = self.words_loss(net, batch, run, sentences, drawn)
                terms["words"] = Loss(words.values, words.counts, weight=self.mix)
            run.step(terms, optimizer="tuning")

    def sentences(self, net: TextClassifier, items: Coded, run: Run) -> Tensor:
        """[n, H]."""
        return run.forward(net, items.ids, items.mask)

    def words_loss(
        self, net: TextClassifier, batch: Batch, run: Run, sentences: Tensor, drawn: Drawn
    ) -> Loss:
        """Texts against words of their own and of others."""
        sampled = word_labels(
            batch.items.ids, batch.items.mask, drawn.words, batch, run,
            true=self.positives, drawn=self.negatives, collisions=self.collisions,
        )  # fmt: skip
        scores = net.head.matcher(sentences[:, None], net.vectors(sampled.ids))  # type: ignore[union-attr, operator]
        if self.objective == "bce" or self.objective in VIEWED:
            return label_match(scores, sampled.targets, sampled.valid)
        g, share = sampled.true, drawn.log_share[sampled.ids]
        losses = scored_contrast(
            self.objective,  # type: ignore[arg-type]
            scores[:, :g],
            scores[:, None, g:],
            valid=(sampled.valid & (sampled.targets == 0))[:, None, g:],
            log_noise=(share[:, :g], share[:, None, g:]),
            temperature=self.temperature,
        )
        there = sampled.valid[:, :g].to(losses.dtype)
        return Loss((losses * there).sum(1), counts=there.sum(1))

    def classes_loss(self, scores: Tensor, batch: Batch) -> Loss:
        """Texts [n] against the names of the classes, from scores [n, C]."""
        targets, count = batch.items.targets, scores.shape[1]
        valid = torch.ones_like(targets, dtype=torch.bool)
        if 0 < self.class_negatives < count:
            places = torch.where(targets > 0, 2.0, batch.random.uniform(count)).argsort(1).argsort(1)
            valid = (places < self.class_negatives) | (targets > 0)
        if self.objective == "bce" or self.objective in VIEWED:
            return label_match(scores, targets, valid, self.positive_weight)
        text, label = targets.nonzero(as_tuple=True)
        uniform = scores.new_full((), 1 / count).log()
        losses = scored_contrast(
            self.objective,  # type: ignore[arg-type]
            scores[text, label],
            scores[text],
            valid=(valid & (targets == 0))[text],
            log_noise=(uniform, uniform),
            temperature=self.temperature,
        )
        values = scores.new_zeros(len(scores)).index_add(0, text, losses)
        return Loss(values, counts=targets.sum(1))

    def views_loss(
        self,
        net: TextClassifier,
        batch: Batch,
        run: Run,
        groups: Tensor,
        repeats: Tensor | None,
        width: int,
    ) -> Loss:
        """Texts against texts: two passes that dropout and hidden words make different."""
        ids, mask = batch.items.ids, batch.items.mask
        words = net.words[ids]
        views = []
        for _ in range(2):
            gone = (batch.random.uniform(width)[:, : ids.shape[1]] < self.hide) & words
            views.append(run.forward(net, ids, mask * ~gone))
        both = gather_views(torch.stack(views), run)
        return view_contrast(
            self.objective,  # type: ignore[arg-type]
            *views,
            temperature=self.temperature,
            margin=self.margin,
            groups=groups,
            candidates=None if both is None else (both[0], both[1]),
            candidate_groups=None if both is None else run.gather_constant(groups),
            offset=batch.offset,
            step=1 + int(torch.randint(max(batch.size - 1, 1), (), generator=run.rng)),
            repeats=None if repeats is None else run.gather_constant(repeats[batch.index].to(run.device)),
        )


def _groups(rows: Coded | CodedAsRead) -> Tensor:
    """[N] a number for each set of labels; one of its own for every text without."""
    group = (
        torch.unique(rows.targets.to(torch.uint8), dim=0, return_inverse=True)[1]
        if rows.targets.shape[1]
        else torch.zeros(len(rows))
    )
    alone = len(rows) + torch.arange(len(rows))
    return torch.where(rows.labelled, group.long(), alone)
