"""Captioned images: two towers that tell which caption an image has, measured by retrieval and by captions nearly right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.data.captioned.digit_pairs import digit_pairs
from counterpoint.data.captioned.items import Captioned
from counterpoint.data.captioned.load import load_captioned
from counterpoint.data.images.sets import TEXT_ENCODER
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.pictures.captioned import MEASUREMENTS
from counterpoint.models.captioned.clip import TwoTowers, load_towers
from counterpoint.models.captioned.folder import FOLDERS
from counterpoint.models.captioned.paired import PairedTowers
from counterpoint.models.images.folder import FOLDERS as IMAGE_FOLDERS
from counterpoint.models.images.paired import Paired
from counterpoint.tasks.facts import Facts
from counterpoint.tasks.options import checked_load
from counterpoint.tasks.stock import orderless

DIGIT_PAIRS = "digit-pairs"


class CaptionedTask:
    """The kind "captioned": see ``data.captioned.load_captioned`` for the options of ``load_data``."""

    kind = "captioned"
    primary = "image_recall@1"
    default_model = "clip-small"
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> Captioned:
        """Load and split captioned images; options as values or as text."""
        if spec == DIGIT_PAIRS and not Path(spec).exists():
            return checked_load(digit_pairs, None, options, DIGIT_PAIRS)
        return checked_load(load_captioned, spec, options, "captioned")

    def facts(self, data: Captioned) -> Facts:
        """What advice on methods may rest on."""
        return Facts(self.kind, len(data.train), captioned=True)

    def reading(self, data: Captioned) -> dict[str, Any]:
        """Which kind opens the folder, and channels, height and width of the images."""
        return {"kind": "captioned", "shape": list(data.shape)}

    def load_model(self, spec: str, data: Captioned, seed: int) -> nn.Module:
        """Build "clip-small" or "clip-base", take "orderless", or open a CLIP folder or one that ``clip`` made of images."""
        folder = Path(spec)
        if (folder / "config.json").exists() and IMAGE_FOLDERS.holds(folder) == "Paired":
            towers = IMAGE_FOLDERS.open(folder)
            assert isinstance(towers, Paired)
            return PairedTowers(towers, TEXT_ENCODER)
        if spec == orderless.NAME and not folder.exists():
            return orderless.load(seed)
        towers = load_towers(
            spec, data.shape, [text for row in data.train.captions for text in row], seed=seed
        )
        _check(towers, data, spec)
        return towers

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write two towers as the ordinary folder that they came from."""
        if isinstance(model, PairedTowers):
            IMAGE_FOLDERS.save(model.towers, folder)
            return
        FOLDERS.save(model, folder)

    def evaluate(self, model: nn.Module, data: Captioned, split: str, seed: int = 0) -> dict[str, float]:
        """Measure retrieval and choices; see ``evaluation.pictures.captioned``."""
        return measured(self.measurements, model, data, split, seed)


def _check(towers: TwoTowers, data: Captioned, spec: str) -> None:
    channels = int(towers.net.config.vision_config.num_channels)
    if data.shape[0] not in (1, channels):
        raise CounterpointError(
            f"{spec} looks at images of {channels} channel, and the data's have {data.shape[0]}; turn them gray, or start from a fresh model: "
            "--model clip-small"
        )
    towers.read(data.texts())  # refuses a caption that is too long before anything is trained


TASK = CaptionedTask()
