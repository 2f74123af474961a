"""Images: representations measured by a linear probe, nearest neighbours and the geometry of the features."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.data.images.load import Images, load_images
from counterpoint.evaluation.images import MEASUREMENTS
from counterpoint.evaluation.measurement import measured
from counterpoint.models.images.encoders import load_encoder
from counterpoint.models.images.folder import FOLDERS, save
from counterpoint.tasks.facts import Facts, imbalance_of
from counterpoint.tasks.options import checked_load

FEW_LABELS, NO_LABELS = 20, "almost no labels: representations can be learnt, and hardly measured"

logger = logging.getLogger("counterpoint")


class ImageTask:
    """The kind "images": see ``data.images.load_images`` for the options of ``load_data``."""

    kind = "images"
    primary = "probe_accuracy"
    otherwise = ("image_recall@1", "view_recall@1")
    default_model = "conv-small"
    lower_is_better = ("alignment", "uniformity")
    measurements = MEASUREMENTS

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
            doubts=(NO_LABELS,) if len(labels) < FEW_LABELS else (),
        )

    def reading(self, data: Images) -> dict[str, Any]:
        """Channels, height and width of the images."""
        return {"kind": "images", "shape": list(data.shape)}

    def load_model(self, spec: str, data: Images, seed: int) -> nn.Module:
        """Build "conv-small", "resnet18" (each also with ":group" for group normalisation), or open a folder."""
        if (Path(spec) / "config.json").exists():
            model = FOLDERS.open(Path(spec))
            side = getattr(model, "side", None)
            if side is not None and max(data.shape[1:]) < side:
                logger.warning(
                    "%s looks at images of %dx%d, and the data have %dx%d: they are enlarged; if the files hold more, load them with "
                    "--data-option size=%d", spec, side, side, data.shape[2], data.shape[1], side,
                )  # fmt: skip
            return model
        name, _, norm = spec.partition(":")
        options = {"norm": norm} if norm else {}
        return load_encoder(name, data.shape, statistics=data.statistics(), seed=seed, **options)

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the encoder as an ordinary folder; a projector goes to ``projector/`` inside, a classifier's heads to ``heads/``."""
        save(model, folder)

    def evaluate(self, model: nn.Module, data: Images, split: str, seed: int = 0) -> dict[str, float]:
        """Measure frozen features, and a classifier's and two towers' own answers; see ``evaluation.images``."""
        return measured(self.measurements, model, data, split, seed)


TASK = ImageTask()
