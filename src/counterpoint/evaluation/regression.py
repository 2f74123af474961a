"""How well numbers are predicted, and whether features lie in the order of the targets.

``mae`` and ``rmse`` are in the targets' units; ``rare_mae`` is of the fifth of the rows whose targets training saw least
of. ``order`` is the rank correlation of distances between features with distances between targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata, spearmanr
from torch import Tensor, nn

from counterpoint.data.regression.splits import Regression
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.features import features
from counterpoint.evaluation.measurement import Measurement, Subject, everything, is_a
from counterpoint.models.regression.tabular import Predictor

STRENGTHS = tuple(10.0**power for power in range(-4, 4))
ORDERED = 500
"""Rows, at most, that the order of distances is taken over."""


@dataclass(frozen=True)
class Ridge:
    """A ridge regression on features, its penalty chosen on validation: ``features @ weight + bias``."""

    weight: np.ndarray
    bias: float
    penalty: float

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[N, F] -> [N]."""
        return rows @ self.weight + self.bias


def ridge_probe(model: nn.Module, data: Regression) -> Ridge:
    """Fit a ridge regression on the frozen features of the training rows.

    Raises:
        CounterpointError: features that are not finite.
    """
    rows, held = (
        features(model, data.train.inputs).double().numpy(),
        features(model, data.validation.inputs).double().numpy(),
    )
    if not np.isfinite(rows).all():
        raise CounterpointError(
            "the encoder's features hold NaN or infinite values; the training diverged: lower learning_rate"
        )
    y, wanted = data.train.targets.double().numpy(), data.validation.targets.double().numpy()
    middle, mean = rows.mean(0), y.mean()
    left, singular, right = np.linalg.svd(rows - middle, full_matrices=False)
    best: tuple[float, Ridge] | None = None
    for strength in STRENGTHS:
        penalty = strength * float((singular**2).mean()) or 1.0
        weight = right.T @ (singular / (singular**2 + penalty) * (left.T @ (y - mean)))
        ridge = Ridge(weight, float(mean - middle @ weight), penalty)
        error = float(((ridge(held) - wanted) ** 2).mean())
        if best is None or error <= best[0]:
            best = error, ridge
    assert best is not None
    return best[1]


def with_head(model: nn.Module, data: Regression) -> Predictor:
    """Give an encoder the ridge regression on its features as a head."""
    encoder = model.encoder if isinstance(model, Predictor) else model
    ridge = ridge_probe(encoder, data)
    predictor = Predictor(encoder, unit=(data.offset, data.scale)).to(next(encoder.parameters()).device)
    with torch.no_grad():
        predictor.head.weight.copy_(torch.from_numpy(ridge.weight)[None])
        predictor.head.bias.fill_(ridge.bias)
    return predictor


def predict(model: Predictor, inputs: Tensor) -> Tensor:
    """[Q] predicted targets of inputs, on the CPU."""
    return features(model, inputs, predict=True)


def _vectors(subject: Subject[nn.Module, Regression]) -> np.ndarray:
    return subject.once("features", lambda: features(subject.model, subject.part.inputs).double().numpy())


def _probed(subject: Subject[nn.Module, Regression]) -> np.ndarray:
    return subject.once("probed", lambda: ridge_probe(subject.model, subject.data)(_vectors(subject)))


def _errors(values: np.ndarray, subject: Subject[nn.Module, Regression]) -> dict[str, float]:
    """Figures of predicted values [N]."""
    data, y = subject.data, subject.part.targets.double().numpy()
    error = np.abs(values - y)
    rare = _rare(data.train.targets.double().numpy(), y)
    spread = float(((y - y.mean()) ** 2).sum()) or 1.0
    return {
        "r2": 1 - float((error**2).sum()) / spread,
        "mae": float(error.mean()) * data.scale,
        "rmse": float(np.sqrt((error**2).mean())) * data.scale,
        "rare_mae": float(error[rare].mean()) * data.scale,
        "rank_correlation": _spearman(values, y),
    }


def predictions(subject: Subject[Predictor, Regression]) -> dict[str, float]:
    """Errors of a model with a head of its own."""
    return _errors(predict(subject.model, subject.part.inputs).double().numpy(), subject)


def probe(subject: Subject[nn.Module, Regression]) -> dict[str, float]:
    """Errors of a ridge regression on the features of a model without a head."""
    return _errors(_probed(subject), subject)


def representation(subject: Subject[nn.Module, Regression]) -> dict[str, float]:
    """``order`` of distances over some rows, and the errors of a ridge regression on the features."""
    y, data = subject.part.targets.double().numpy(), subject.data
    error = np.abs(_probed(subject) - y)
    rare = _rare(data.train.targets.double().numpy(), y)
    return {
        "order": _order(_vectors(subject)[:ORDERED], y[:ORDERED]),
        "probe_mae": float(error.mean()) * data.scale,
        "probe_rare_mae": float(error[rare].mean()) * data.scale,
    }


MEASUREMENTS: tuple[Measurement[Any, Regression], ...] = (
    Measurement(applies=is_a(Predictor), measure=predictions),
    Measurement(applies=lambda model, data: not isinstance(model, Predictor), measure=probe),
    Measurement(applies=everything, measure=representation),
)


def _rare(seen: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The fifth of ``wanted`` with the fewest training targets within a quarter of their deviation; ties by distance from the middle."""
    near = (np.abs(wanted[:, None] - seen[None, :]) <= seen.std() / 4).sum(1)
    order = np.lexsort((-np.abs(wanted - np.median(seen)), near))
    return order[: max(1, round(len(wanted) / 5))]


def _order(rows: np.ndarray, targets: np.ndarray) -> float:
    first, second = np.triu_indices(len(rows), 1)
    return _spearman(
        np.linalg.norm(rows[first] - rows[second], axis=1), np.abs(targets[first] - targets[second])
    )


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation; 0 where one side is constant."""
    if len(one) < 2 or np.ptp(rankdata(one)) == 0 or np.ptp(rankdata(other)) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)
