"""What is measured of image models: a probe and neighbours on features, a classifier's own answers, partners, geometry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.data.images.load import Images, ImageSet
from counterpoint.evaluation.classification import class_accuracy
from counterpoint.evaluation.features import features
from counterpoint.evaluation.geometry import alignment, effective_rank, uniformity
from counterpoint.evaluation.knn import knn_accuracy
from counterpoint.evaluation.matching import equal_rows, matching_recall
from counterpoint.evaluation.measurement import Measurement, Subject, everything, is_a
from counterpoint.evaluation.probe import linear_probe
from counterpoint.models.images.classifier import Classified
from counterpoint.models.images.paired import Paired
from counterpoint.models.images.projector import Projected
from counterpoint.pairs.caption_vectors import with_partners
from counterpoint.pairs.views import augmentation
from counterpoint.training.batches import ItemRandom

FEW, SPREAD = 500, 2000
"""Images whose views are compared, and rows whose spread over the sphere is measured, at most."""

Any_ = Subject[nn.Module, Images]


def has_labels(model: nn.Module, data: Images) -> bool:
    """Whether there are labels to learn a probe from."""
    return len(data.train.labelled()) > 0


def _vectors(subject: Any_) -> Tensor:
    return subject.once("features", lambda: features(subject.model, subject.part.pixels))


def _bank(subject: Any_) -> tuple[ImageSet, Tensor]:
    """The labelled training images, ``labels_per_class`` of them where the data says so, and their features."""

    def learn() -> tuple[ImageSet, Tensor]:
        data = subject.data
        labelled = data.train.labelled()
        if data.labels_per_class is not None:
            labelled = labelled.few(data.labels_per_class, subject.seed)
        return labelled, features(subject.model, labelled.pixels)

    return subject.once("bank", learn)


def probe(subject: Any_) -> dict[str, float]:
    """``probe_accuracy``: a linear probe on frozen features, its regularisation chosen on validation."""
    has_label = subject.part.labels >= 0
    if not has_label.any():
        return {}
    (labelled, bank), tuning = _bank(subject), subject.data.validation.labelled()
    fitted = linear_probe(
        (bank.numpy(), labelled.labels.numpy()),
        (features(subject.model, tuning.pixels).numpy(), tuning.labels.numpy()),
        (_vectors(subject)[has_label].numpy(), subject.part.labels[has_label].numpy()),
    )
    return {"probe_accuracy": fitted.accuracy}


def answers(subject: Subject[Classified, Images]) -> dict[str, float]:
    """``accuracy`` of a classifier's one pass, and ``aggregated_accuracy`` over all copies."""
    if not (subject.part.labels >= 0).any():
        return {}
    return class_accuracy(subject.model, subject.part.pixels, subject.part.labels)


def neighbours(subject: Any_) -> dict[str, float]:
    """``knn_accuracy``: a vote of the nearest labelled training images."""
    has_label = subject.part.labels >= 0
    if not has_label.any():
        return {}
    labelled, bank = _bank(subject)
    queries, truth = _vectors(subject)[has_label], subject.part.labels[has_label]
    return {"knn_accuracy": knn_accuracy(bank, labelled.labels, queries, truth)}


def partners(subject: Subject[Paired, Images]) -> dict[str, float]:
    """How often images and their partners find each other among a split: ``image_recall@1`` and its like.

    ``partner_recall@1`` is the other direction, ``@5`` whether the partner is among the five nearest. Images whose partners
    are equal share them: any of them is right.
    """
    if subject.part.partners is None and subject.part.captions is None:
        return {}
    model, pixels = subject.model, subject.part.pixels
    given = with_partners(subject.data).splits()[subject.split].partners
    assert given is not None
    sides = features(model.image, pixels, project=True), features(model.partner, given)
    same = equal_rows(given)  # as given, not as the model sees them: one that confuses partners gains nothing
    recalls = {k: matching_recall(*sides, k=k, same=same) for k in (1, 5)}
    return {
        f"{side}_recall@{k}": share
        for k, shares in recalls.items()
        for side, share in zip(("image", "partner"), shares, strict=True)
    }


def geometry(subject: Any_) -> dict[str, float]:
    """``effective_rank`` and ``uniformity`` of the features."""
    rows = _vectors(subject)
    return {"effective_rank": effective_rank(rows), "uniformity": uniformity(rows[:SPREAD])}


def views(subject: Any_) -> dict[str, float]:
    """Of two augmented views of (at most 500) images: ``alignment``, and how often one finds the other, ``view_recall@1``."""
    few = subject.part.pixels[:FEW]
    random = ItemRandom(subject.seed, len(few), slice(None), torch.device("cpu"))
    both = augmentation("auto", subject.data.shape).views(few, random)
    one, other = features(subject.model, both).chunk(2)
    recall = matching_recall(one, other, same=torch.arange(len(one)))[0]
    return {"alignment": alignment(one, other), "view_recall@1": recall}


def projections(subject: Subject[Projected, Images]) -> dict[str, float]:
    """``projection_rank``: the effective rank behind the projector."""
    return {"projection_rank": effective_rank(features(subject.model, subject.part.pixels, project=True))}


MEASUREMENTS: tuple[Measurement[Any, Images], ...] = (
    Measurement(applies=has_labels, measure=probe),
    Measurement(applies=lambda m, data: isinstance(m, Classified) and has_labels(m, data), measure=answers),
    Measurement(applies=has_labels, measure=neighbours),
    Measurement(applies=is_a(Paired), measure=partners),
    Measurement(applies=everything, measure=geometry),
    Measurement(applies=everything, measure=views),
    Measurement(applies=is_a(Projected), measure=projections),
)
