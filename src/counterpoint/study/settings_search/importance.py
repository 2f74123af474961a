"""How much of the variance of a search's figures each setting explains: functional ANOVA (Hutter et al. 2014) of a random forest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.errors import MissingExtra
from counterpoint.study.case import Range
from counterpoint.study.tune import Trial, distribution, encoded

FEWEST = 8
"""Finished trials below which a forest would explain noise."""


def importance(
    ranges: Mapping[str, Range], own: Mapping[str, Any], trials: Sequence[Trial]
) -> dict[str, float]:
    """Setting -> its share of the variance, the largest first; empty with few trials, or where all reached the same.

    Args:
        ranges: setting -> range. own: the settings that a trial's differences are from. trials: of one search.

    Raises:
        MissingExtra: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtra("optuna", "tune") from None
    space = {name: distribution(given, own.get(name)) for name, given in ranges.items()}
    study = optuna.create_study(direction="maximize")
    values = []
    for trial in trials:
        if trial.value is None or not math.isfinite(trial.value):
            continue
        settings = {**own, **trial.settings}
        point = {name: encoded(given, settings.get(name)) for name, given in ranges.items()}
        if any(value is None for value in point.values()):
            continue  # the arm's own settings may lie outside the ranges
        values.append(trial.value)
        study.add_trial(optuna.trial.create_trial(params=point, distributions=space, value=trial.value))
    if len(values) < FEWEST or len(ranges) < 2 or max(values) == min(values):
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
