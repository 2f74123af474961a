"""Images: representations measured by a linear probe, nearest neighbours and the geometry of the features."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

from counterpoint.data.images.load import Images, load_images
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.classification import class_accuracy
from counterpoint.evaluation.features import features
from counterpoint.evaluation.geometry import alignment, effective_rank, uniformity
from counterpoint.evaluation.knn import knn_accuracy
from counterpoint.evaluation.matching import equal_rows, matching_recall
from counterpoint.evaluation.probe import linear_probe
from counterpoint.models.images.classifier import Classified, Heads
from counterpoint.models.images.encoders import load_encoder
from counterpoint.models.images.paired import Paired
from counterpoint.models.images.projector import Projected, Projector
from counterpoint.pairs.caption_vectors import with_partners
from counterpoint.pairs.views import augmentation
from counterpoint.tasks.facts import Facts, imbalance_of
from counterpoint.tasks.options import checked_load
from counterpoint.training.batches import ItemRandom


class ImageTask:
    """The kind "images": see ``data.images.load_images`` for the options of ``load_data``."""

    kind = "images"
    primary = "probe_accuracy"
    otherwise = ("image_recall@1", "view_recall@1")
    default_model = "conv-small"
    lower_is_better = ("alignment", "uniformity")

    def load_data(self, spec: str, **options: Any) -> Images:
        """Load and split images; options are those of ``load_images``, as values or as text."""
        return checked_load(load_images, spec, options, "images")

    def facts(self, data: Images) -> Facts:
        """What advice on methods may rest on."""
        train = data.train
        labels = [int(label) for label in train.labels.tolist() if label >= 0]
        counts = Counter(labels)
        captioned = train.captions is not None or train.partners is not None
        return Facts(
            self.kind,
            len(train),
            len(labels),
            len(counts),
            imbalance_of(counts.values()),
            captioned=captioned,
        )

    def load_model(self, spec: str, data: Images, seed: int) -> nn.Module:
        """Build "conv-small", "resnet18" (each also with ":group" for group normalisation), or open a folder."""
        name, _, norm = spec.partition(":") if not Path(spec).exists() else (spec, "", "")
        options = {"norm": norm} if norm else {}
        encoder = load_encoder(name, data.shape, statistics=data.statistics(), seed=seed, **options)
        if (Path(spec) / "heads").is_dir():
            return Classified(encoder, Heads.from_pretrained(Path(spec) / "heads"))
        head = Path(spec) / "projector"
        if not head.is_dir():
            return encoder
        whole = Projected(encoder, Projector.from_pretrained(head))
        partner = Path(spec) / "partner"
        return Paired(whole, Projector.from_pretrained(partner)) if partner.is_dir() else whole

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the encoder as an ordinary folder; a projector goes to ``projector/`` inside, a classifier's heads to ``heads/``."""
        if isinstance(model, Paired):
            model.partner.save_pretrained(folder / "partner")
            model = model.image
        encoder = model.encoder if isinstance(model, Projected | Classified) else model
        if not hasattr(encoder, "save_pretrained"):
            raise CounterpointError(
                f"{type(encoder).__name__} has no save_pretrained; derive it from huggingface_hub.PyTorchModelHubMixin"
            )
        encoder.save_pretrained(folder)  # type: ignore[operator]
        if isinstance(model, Projected) and isinstance(model.projector, Projector):
            model.projector.save_pretrained(folder / "projector")
        if isinstance(model, Classified):
            model.heads.save_pretrained(folder / "heads")

    def evaluate(self, model: nn.Module, data: Images, split: str, seed: int = 0) -> dict[str, float]:
        """Measure frozen features on "validation" or "test".

        ``probe_accuracy`` and ``knn_accuracy`` learn from the labelled training images (``labels_per_class`` of them,
        drawn with ``seed``, when the data says so); the probe's regularisation is chosen on validation. Geometry is of
        the features; ``alignment`` is between two augmented views of (at most 500) images, and ``view_recall@1`` says how
        often one of them finds the other among all: a figure to rank by where there are no labels. A classifier
        is measured by its own answers, too: ``accuracy`` of one pass and ``aggregated_accuracy`` over all
        copies. Two towers are measured by whether the partners of a split find each other among all of it:
        ``image_recall@1`` says how often an image finds its partner, ``partner_recall@1`` the other direction, ``@5``
        whether it is among the five nearest. Images whose partners are equal share them: any of them is right.
        """
        if split not in ("validation", "test"):
            raise CounterpointError(f"split='{split}'; expected 'validation' or 'test'")
        part = data.splits()[split]
        vectors = features(model, part.pixels)
        result: dict[str, float] = {}
        labelled = data.train.labelled()
        if len(labelled) and (part.labels >= 0).any():
            if data.labels_per_class is not None:
                labelled = labelled.few(data.labels_per_class, seed)
            has_label = part.labels >= 0
            tuning = data.validation.labelled()
            bank, chosen = features(model, labelled.pixels), features(model, tuning.pixels)
            probe = linear_probe(
                (bank.numpy(), labelled.labels.numpy()),
                (chosen.numpy(), tuning.labels.numpy()),
                (vectors[has_label].numpy(), part.labels[has_label].numpy()),
            )
            result["probe_accuracy"] = probe.accuracy
            if isinstance(model, Classified):
                result |= class_accuracy(model, part.pixels, part.labels)
            result["knn_accuracy"] = knn_accuracy(
                bank, labelled.labels, vectors[has_label], part.labels[has_label]
            )
        if isinstance(model, Paired) and (part.partners is not None or part.captions is not None):
            partners = with_partners(data).splits()[split].partners
            assert partners is not None
            sides = features(model.image, part.pixels, project=True), features(model.partner, partners)
            same = equal_rows(
                partners
            )  # as given, not as the model sees them: one that confuses partners gains nothing
            for k in (1, 5):
                recalls = matching_recall(*sides, k=k, same=same)
                result[f"image_recall@{k}"], result[f"partner_recall@{k}"] = recalls
        result["effective_rank"] = effective_rank(vectors)
        result["uniformity"] = uniformity(vectors[:2000])
        few = part.pixels[:500]
        views = augmentation("auto", data.shape).views(
            few, ItemRandom(seed, len(few), slice(None), torch.device("cpu"))
        )
        one, other = features(model, views).chunk(2)
        result["alignment"] = alignment(one, other)
        result["view_recall@1"] = matching_recall(one, other, same=torch.arange(len(one)))[0]
        if isinstance(model, Projected):
            result["projection_rank"] = effective_rank(features(model, part.pixels, project=True))
        return result


TASK = ImageTask()
