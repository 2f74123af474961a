"""Preferences: pairs or marked answers, a causal language model, and whether its likelihood ranks answers right."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn

from counterpoint.data.language import preferences
from counterpoint.data.language.preferences import Preference, PreferenceData
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.preference import MEASUREMENTS
from counterpoint.models.language.language import Language
from counterpoint.models.language.rows_fit import Row
from counterpoint.tasks import language_model, language_rows
from counterpoint.tasks.options import checked_load


class PreferenceTask:
    """The kind "preferences": see ``data.preferences.load`` for the options of ``load_data``."""

    kind = "preferences"
    primary = "accuracy"
    default_model = "smollm2-135m-instruct"
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> PreferenceData:
        """Load and split preferences; options are those of ``data.preferences.load``, as values or as text."""
        return checked_load(preferences.load, spec, options, "preferences")

    def load_model(self, spec: str, data: PreferenceData, seed: int, **options: Any) -> nn.Module:
        """Open a bundled model, a folder with a causal language model or with a reward model; "characters" is a small untrained one.
        "describer" and "describer-teacher" describe things, with mistakes (a minute or two on first use, then kept).

        Options are those of ``tasks.language_model.opened``.
        """
        from counterpoint.models.language import characters, language, reward
        from counterpoint.tasks.stock import describer

        if spec == "characters":
            language_model.refuse_options(spec, options)
            return characters.tiny(seed=seed)
        if spec in describer.SIZES:
            language_model.refuse_options(spec, options)
            return describer.load(spec)
        if reward.is_reward_folder(spec):
            return reward.RewardModel.load(spec, **language_model.checked(options))
        return language.load(spec, seed=seed, **language_model.checked(options))

    def fitted(self, model: nn.Module, data: PreferenceData) -> PreferenceData:
        """Data as the model will read them: see ``tasks.language_rows``."""
        return language_rows.fitted(_language(model), data, _row)

    def preview(self, model: nn.Module, data: PreferenceData) -> language_rows.Preview:
        """Lengths in tokens, and one row with what is learnt of it."""
        return language_rows.preview(_language(model), data, _row, _row)

    def save_model(self, model: nn.Module, folder: Path, form: str = "merged") -> None:
        """Write an ordinary folder; adapters are merged into the weights, or as ``tasks.language_model.save`` says."""
        language_model.save(model, folder, form)

    def evaluate(self, model: nn.Module, data: PreferenceData, split: str, seed: int = 0) -> dict[str, float]:
        """Rank the split's answers by likelihood; see ``evaluation.preference``."""
        return measured(self.measurements, model, data, split, seed)


def _language(model: nn.Module) -> Language:
    """The language model itself, or the one that a reward model reads."""
    return cast(Language, getattr(model, "language", model))


def _row(preference: Preference) -> Row:
    return preference.prompt, (preference.chosen, preference.rejected)


TASK = PreferenceTask()
