"""AutoDistiller (arXiv 2109.11105): foretells the quality of a pipeline on data it was never tried on, from records of searches.

A forest learns the distillation ratio (a configuration's figure over the teacher's) from the configuration, the data's facts, what
its inputs are like, and the models. The best few that it foretells are then tried. How far it can be
trusted is measured: each data set of the records is left out in turn, and what it would have recommended there is compared with chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from counterpoint.errors import CounterpointError
from counterpoint.study.settings_search.record import Record

TREES = 200


@dataclass(frozen=True)
class Foretold:
    """A configuration with the ratio expected of it, and the tenth and ninetieth of a hundred trees."""

    settings: Mapping[str, Any]
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class LeftOut:
    """What records of other data sets would have recommended on one, by the ratios that were truly reached there.

    Attributes:
        name: the data. tried: configurations there. error: mean absolute error of the ratio.
        recommended: mean ratio of the recommended few. chance: mean of all, which random ones reach on average.
        best: the best of the recommended few. best_by_chance: what the best of as many random ones reaches on average.
    """

    name: str
    tried: int
    error: float
    recommended: float
    chance: float
    best: float
    best_by_chance: float


class AutoDistiller:
    """A forest over records.

    Args:
        records: of earlier searches, at least one.

    Raises:
        CounterpointError: nothing to learn from.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.feature_extraction import DictVectorizer

        pairs = [
            (_features(record, settings), record.ratio(value))
            for record in records
            for settings, value in record.tried
        ]
        pairs = [(x, y) for x, y in pairs if math.isfinite(y)]
        if not pairs:
            raise CounterpointError(
                "no records to learn from; give the --out folders of earlier searches with --records"
            )
        self._columns = DictVectorizer(sparse=False)
        x = self._columns.fit_transform([features for features, _ in pairs])
        self._forest = RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=0)
        self._forest.fit(x, np.array([ratio for _, ratio in pairs]))
        self.count = len(pairs)

    def foretell(self, data: Record, candidates: Sequence[Mapping[str, Any]]) -> list[Foretold]:
        """What to expect of each candidate on data, of which ``data`` has the facts (its ``tried`` is not looked at)."""
        if not candidates:
            return []
        x = self._columns.transform([_features(data, settings) for settings in candidates])
        by_tree = np.stack([tree.predict(x) for tree in self._forest.estimators_])
        low, high = np.quantile(by_tree, [0.1, 0.9], axis=0)
        return [
            Foretold(settings, float(mean), float(a), float(b))
            for settings, mean, a, b in zip(candidates, by_tree.mean(0), low, high, strict=True)
        ]

    def recommend(
        self, data: Record, candidates: Sequence[Mapping[str, Any]], top: int = 5
    ) -> list[Foretold]:
        """The ``top`` candidates of the highest expected ratio, the earliest among equals."""
        return sorted(self.foretell(data, candidates), key=lambda each: -each.ratio)[:top]


def leave_one_out(records: Sequence[Record], top: int = 5) -> list[LeftOut]:
    """For each data set: learn from the others' records, recommend among what was tried there, look up what that reached.

    Returns:
        A row for each data set; none with fewer than two.
    """
    sets = list(dict.fromkeys(record.data for record in records))
    rows = []
    for data in sets if len(sets) > 1 else []:
        own = [record for record in records if record.data == data]
        model = AutoDistiller([record for record in records if record.data != data])
        for record in own:
            truth = [record.ratio(value) for _, value in record.tried]
            foretold = model.foretell(record, [settings for settings, _ in record.tried])
            order = sorted(range(len(truth)), key=lambda i: -foretold[i].ratio)[:top]
            errors = [abs(each.ratio - y) for each, y in zip(foretold, truth, strict=True)]
            reached = [truth[i] for i in order]
            rows.append(
                LeftOut(
                    name=record.name,
                    tried=len(truth),
                    error=float(np.mean(errors)),
                    recommended=float(np.mean(reached)),
                    chance=float(np.mean(truth)),
                    best=max(reached),
                    best_by_chance=expected_best(truth, len(order)),
                )
            )
    return rows


def expected_best(values: Sequence[float], count: int) -> float:
    """Mean of the best of ``count`` values drawn without repeats.

    >>> expected_best([1.0, 2.0, 3.0], 2)
    2.6666666666666665
    """
    ordered, n = sorted(values), len(values)
    ways = math.comb(n, count)
    return sum(value * math.comb(i, count - 1) / ways for i, value in enumerate(ordered))


def _features(record: Record, settings: Mapping[str, Any]) -> dict[str, float | str]:
    """The named features of a configuration on a data set: words are one-hot later."""
    row: dict[str, float | str] = {"model": record.model, "teacher": record.teacher}
    for name, value in record.facts.items():
        row[f"facts.{name}"] = math.log1p(value)
    for i, share in enumerate(record.inputs):
        row[f"inputs.{i}"] = share
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            row[f"settings.{name}"] = str(value)
        else:
            row[f"settings.{name}"] = float(value)
    return row
