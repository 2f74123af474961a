"""Pictures of two domains: generators that bring pictures from one into the other, measured in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.data.styles.digits import load_restyled_digits
from counterpoint.data.styles.load import PLAIN_PROMPTS, STYLED_PROMPTS, load_styles
from counterpoint.data.styles.sets import Styles
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.styles.measurements import MEASUREMENTS
from counterpoint.models.styles.domains import DOMAINS
from counterpoint.models.styles.folder import FOLDERS
from counterpoint.models.styles.generator import Generator
from counterpoint.models.styles.one_step import from_pipeline
from counterpoint.models.styles.restyler import load_restyler
from counterpoint.tasks.facts import Facts
from counterpoint.tasks.options import checked_load

DIGITS = "restyled-digits"


class StyleTask:
    """The kind "styles": see ``data.styles.load_styles`` for the options of ``load_data``."""

    kind = "styles"
    primary = "nearness"
    otherwise = ("balance", "structure@styled")
    default_model = "restyler-small"
    lower_is_better = ("l1@styled", "l1@plain", "cosine_between")
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> Styles:
        """Load and split pictures of both domains; options as values or as text."""
        if spec == DIGITS and not Path(spec).exists():
            return checked_load(load_restyled_digits, None, options, DIGITS)
        return checked_load(load_styles, spec, options, "styles")

    def facts(self, data: Styles) -> Facts:
        """What advice on methods may rest on."""
        return Facts(self.kind, len(data.train), 0, 0)

    def load_model(self, spec: str, data: Styles, seed: int) -> nn.Module:
        """Build "restyler-small" or "restyler-base", or open a folder: a diffusers pipeline's, or one whose pictures have these channels."""
        if not (Path(spec) / "config.json").exists():
            if (Path(spec) / "model_index.json").exists():
                return from_pipeline(spec, data.shape, data.prompts)
            return load_restyler(spec, data.shape, data.prompts, seed)
        model = FOLDERS.open(Path(spec))
        assert isinstance(model, Generator)
        if model.shape[0] != data.shape[0]:
            raise CounterpointError(
                f"{spec} restyles pictures of {model.shape[0]} channels, and the data's have {data.shape[0]}; turn them into such, or start "
                f"from a fresh model: --model {self.default_model}"
            )
        usual = {"plain": PLAIN_PROMPTS, "styled": STYLED_PROMPTS}
        for domain in DOMAINS:
            if data.prompts[domain] != usual[domain]:  # prompts that somebody gave; else the model's own stay
                model.prompts[domain] = data.prompts[domain]
        return model

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the generator's folder, with grids of pictures before and after."""
        FOLDERS.save(model, folder)

    def reading(self, data: Styles) -> dict[str, Any]:
        """How pictures were brought to one size."""
        return {"shape": list(data.shape)}

    def evaluate(self, model: nn.Module, data: Styles, split: str, seed: int = 0) -> dict[str, float]:
        """Restyle the split's pictures and measure; see ``evaluation.styles``."""
        return measured(self.measurements, model, data, split, seed)


TASK = StyleTask()
