"""Does a model put the better answer above the worse one? Accuracy and margins of likelihood, no reference needed."""

from __future__ import annotations

from typing import Any

from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import sequence_log_probs
from counterpoint.models.language.reward import RewardModel


def preference_metrics(model: Language, rows: Preferences, *, at_once: int = 32) -> dict[str, float]:
    """Return figures of how the model's likelihood ranks answers.

    ``accuracy`` compares mean token log-probabilities, ``accuracy_sum`` whole ones (which favour short answers); a tie
    counts as wrong. ``margin`` is the mean difference per token. ``chosen_logp`` and ``rejected_logp`` are means per token:
    a fall of the former while the margin grows is likelihood displacement. For single answers marked good or bad,
    accuracy is the share of (good, bad) pairs in the right order.

    Raises:
        CounterpointError: no rows, or no good and bad answers to compare.
    """
    better, worse = _sides(rows)
    sum_w, n_w = sequence_log_probs(
        model, [r.prompt for r in better], [r.chosen for r in better], at_once=at_once
    )
    sum_l, n_l = sequence_log_probs(
        model, [r.prompt for r in worse], [r.rejected for r in worse], at_once=at_once
    )
    mean_w, mean_l = sum_w / n_w, sum_l / n_l
    if rows.paired:
        higher, higher_sum = mean_w > mean_l, sum_w > sum_l
    else:
        higher, higher_sum = mean_w[:, None] > mean_l[None, :], sum_w[:, None] > sum_l[None, :]
    return {
        "accuracy": float(higher.double().mean()),
        "accuracy_sum": float(higher_sum.double().mean()),
        "margin": float(mean_w.mean() - mean_l.mean()),
        "chosen_logp": float(mean_w.mean()),
        "rejected_logp": float(mean_l.mean()),
    }


def reward_metrics(model: RewardModel, rows: Preferences, *, at_once: int = 32) -> dict[str, float]:
    """Return figures of how a reward model ranks answers: ``accuracy`` (a tie counts as wrong), and means of its rewards.

    Raises:
        CounterpointError: no rows, or no good and bad answers to compare.
    """
    better, worse = _sides(rows)
    good = model.rewards([r.prompt for r in better], [r.chosen for r in better], at_once=at_once)
    bad = model.rewards([r.prompt for r in worse], [r.rejected for r in worse], at_once=at_once)
    higher = good > bad if rows.paired else good[:, None] > bad[None, :]
    return {
        "accuracy": float(higher.double().mean()),
        "margin": float(good.mean() - bad.mean()),
        "chosen_reward": float(good.mean()),
        "rejected_reward": float(bad.mean()),
    }


def _sides(rows: Preferences) -> tuple[list[Preference], list[Preference]]:
    """Rows with a good answer, and rows with a bad one."""
    if not len(rows):
        raise CounterpointError(
            "this split holds no preferences; rows of a prompt stay together, so that few prompts may leave it empty: give more, or rows "
            "of its own in the column 'split'"
        )
    better, worse = [row for row in rows if row.chosen], [row for row in rows if row.rejected]
    if not better or not worse:
        raise CounterpointError("this split has only good or only bad answers; evaluation compares the two")
    return better, worse


def scoring(subject: Subject[RewardModel, PreferenceData]) -> dict[str, float]:
    """``reward_metrics`` of a split."""
    return reward_metrics(subject.model, subject.part)


def ranking(subject: Subject[Language, PreferenceData]) -> dict[str, float]:
    """``preference_metrics`` of a split."""
    return preference_metrics(subject.model, subject.part)


MEASUREMENTS: tuple[Measurement[Any, PreferenceData], ...] = (
    Measurement(applies=is_a(Language), measure=ranking),
    Measurement(applies=is_a(RewardModel), measure=scoring),
)
