"""Pictures: denoisers that make them from prompts, measured by what they draw in any number of steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.data.pictures.load import Pictures, load_pictures
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.pictures.measurements import MEASUREMENTS
from counterpoint.models.pictures.denoiser import Denoiser
from counterpoint.models.pictures.folder import FOLDERS
from counterpoint.models.pictures.loading import load_denoiser
from counterpoint.pairs.picture_prompts import prompted
from counterpoint.tasks.facts import Facts
from counterpoint.tasks.options import checked_load

MOST_STEPS = 1000


class PictureTask:
    """The kind "pictures": see ``data.pictures.load_pictures`` for the options of ``load_data``."""

    kind = "pictures"
    primary = "agreement"
    otherwise = ("precision",)
    default_model = "dit-small"
    lower_is_better = tuple(f"frechet@{steps}" for steps in range(1, MOST_STEPS + 1))
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> Pictures:
        """Load and split images with prompts; options as values or as text."""
        return checked_load(load_pictures, spec, options, "pictures")

    def facts(self, data: Pictures) -> Facts:
        """What advice on methods may rest on."""
        labelled = int((data.train.images.labels >= 0).sum())
        return Facts(self.kind, len(data.train), labelled, len(data.classes), captioned=data.by == "captions")

    def load_model(self, spec: str, data: Pictures, seed: int) -> nn.Module:
        """Build "dit-small", "uvit-small", "unet-small" or their like (":4" for patches of 4 pixels), or open a folder whose pictures and prompts are these."""
        data = prompted(data)
        text_dim = data.train.prompts.shape[1] if data.train.prompts.is_floating_point() else 0
        if (Path(spec) / "config.json").exists() or FOLDERS.holds(Path(spec)):
            model = FOLDERS.open(Path(spec))
            assert isinstance(model, Denoiser)
            _check(model, data, text_dim, spec)
            return model
        encoder = data.images.text_encoder if text_dim else ""
        return load_denoiser(
            spec, data.shape, names=data.names, text_dim=text_dim, text_encoder=encoder, seed=seed
        )

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the denoiser's folder, with grids of what it draws."""
        FOLDERS.save(model, folder)

    def evaluate(self, model: nn.Module, data: Pictures, split: str, seed: int = 0) -> dict[str, float]:
        """Draw pictures by the split's prompts and compare; see ``evaluation.pictures``."""
        return measured(self.measurements, model, data, split, seed)


def _check(model: Denoiser, data: Pictures, text_dim: int, spec: str) -> None:
    if model.shape != data.shape:
        raise CounterpointError(
            f"{spec} makes pictures of {model.shape} (channels, height, width), and the data's are {data.shape}; load the data with "
            f"--data-option size={model.shape[1]}"
        )
    if (data.by == "classes" and model.names != data.names) or text_dim != model.text_dim:
        mine = (
            f"classes {', '.join(model.names)}" if model.names else "captions" if model.text_dim else "none"
        )
        given = f"classes {', '.join(data.names)}" if data.names else data.by
        raise CounterpointError(
            f"{spec} reads other prompts ({mine}) than the data have ({given}); say so with --data-option prompts=..., or start from "
            "a fresh model: --model dit-small"
        )


TASK = PictureTask()
