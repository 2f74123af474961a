"""A linear classifier on frozen features: what an encoder makes linearly available, from many labels or from few."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from counterpoint.errors import CounterpointError

STRENGTHS = (1e-2, 1e-1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        accuracy: on the features it was evaluated on.
        strength: the inverse regularisation that did best on validation.
        validation: accuracy on validation at that strength.
        predicted: [Q] labels.
    """

    accuracy: float
    strength: float
    validation: float
    predicted: np.ndarray


def linear_probe(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    evaluation: tuple[np.ndarray, np.ndarray],
    strengths: Sequence[float] = STRENGTHS,
    iterations: int = 100,
) -> Probe:
    """Multinomial logistic regression on centred features, its regularisation chosen on validation.

    All features are divided by one common deviation: dividing each by its own would blow up the directions that an
    encoder hardly uses, which costs several points of accuracy with few labels. scikit-learn's C weighs the sum over images; here C is ``strength / sqrt(number of labels)``, so that one list of
    strengths serves 10 labels as well as 50,000.

    Args:
        train: features [N, F] and labels [N]; likewise ``validation`` and ``evaluation``.
        strengths: candidates; the smallest wins a tie, being the simplest.

    Raises:
        CounterpointError: fewer than two classes among the labels to learn from, or features that are not finite.
    """
    features, labels = train
    if len(np.unique(labels)) < 2:
        raise CounterpointError(
            f"a probe needs labels of at least two classes to learn from; got {len(labels)} labels of {len(np.unique(labels))}"
        )
    if not np.isfinite(features).all():
        raise CounterpointError(
            "the encoder's features hold NaN or infinite values; the training diverged: lower learning_rate"
        )
    mean = features.mean(0, dtype=np.float64)
    scale = float(np.sqrt(((features - mean) ** 2).mean())) or 1.0
    standard = [(part - mean) / scale for part in (features, validation[0], evaluation[0])]
    model = LogisticRegression(warm_start=True, max_iter=iterations, tol=1e-3)
    best: tuple[float, float, np.ndarray] | None = None
    for strength in sorted(strengths):
        model.C = strength / np.sqrt(len(labels))
        with warnings.catch_warnings():
            # Stopping early is one more way to regularise, and validation chooses among them.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(standard[0], labels)
        score = float((model.predict(standard[1]) == validation[1]).mean())
        if best is None or score > best[0]:
            best = score, strength, model.predict(standard[2])
    assert best is not None
    score, strength, predicted = best
    return Probe(float((predicted == evaluation[1]).mean()), strength, score, predicted)
