"""The chain as scikit-learn knows estimators: its own checks, plain kernel ridge as step one, limits, best weights, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

from counterpoint.errors import CounterpointError
from counterpoint.models.regression.guided_ridge import GuidedRidge

DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(40, 3))
TARGETS = np.stack([np.sin(2 * ROWS[:, 0]) + ROWS[:, 1], ROWS[:, 2] ** 2], 1) + 0.3 * DRAW.normal(
    size=(40, 2)
)
HELD = DRAW.normal(size=(25, 3))
HELD_TARGETS = np.stack([np.sin(2 * HELD[:, 0]) + HELD[:, 1], HELD[:, 2] ** 2], 1)

FORMS = {
    "constant": GuidedRidge(weight=0.5),
    "best": GuidedRidge(predict_step="best"),
    "precomputed": GuidedRidge(weight=0.5, kernel="precomputed"),
    "limit": GuidedRidge(weight=0.5, predict_step="limit", kernel="linear"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(form: str) -> None:
    found = check_estimator(FORMS[form], on_skip=None, on_fail="raise")
    assert sum(each["status"] == "passed" for each in found) > 40


@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "poly", "linear"])
def test_the_first_step_is_kernel_ridge_regression(kernel: str) -> None:
    plain = KernelRidge(alpha=0.7, kernel=kernel, gamma=0.4, degree=2).fit(ROWS, TARGETS)
    chain = GuidedRidge(penalty=0.7, kernel=kernel, gamma=0.4, degree=2, steps=3, weight=0.2).fit(
        ROWS, TARGETS
    )
    np.testing.assert_allclose(chain.predict(HELD, step=1), plain.predict(HELD), rtol=1e-7, atol=1e-9)


def test_every_step_is_kernel_ridge_regression_on_the_mixed_target_of_any_kernel() -> None:
    def kernel(one: np.ndarray, other: np.ndarray) -> float:
        return float(1 + one @ other) ** 2

    chain = GuidedRidge(penalty=0.5, kernel=kernel, steps=4, weight=[1, 0.1, 0.7, 0.4]).fit(ROWS, TARGETS)
    fit = TARGETS
    for step, weight in enumerate([1, 0.1, 0.7, 0.4]):
        plain = KernelRidge(alpha=0.5, kernel=kernel).fit(ROWS, weight * TARGETS + (1 - weight) * fit)
        fit = plain.predict(ROWS)
        np.testing.assert_allclose(chain.fits_[step], fit, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(
            chain.predict(HELD, step=step + 1), plain.predict(HELD), rtol=1e-6, atol=1e-7
        )


def test_two_hundred_steps_are_the_limit() -> None:
    chain = GuidedRidge(penalty=0.2, gamma=0.5, steps=200, weight=0.3).fit(ROWS, TARGETS)
    plain = KernelRidge(alpha=0.2 / 0.3, kernel="rbf", gamma=0.5).fit(ROWS, TARGETS)
    np.testing.assert_allclose(chain.predict(HELD, step="limit"), plain.predict(HELD), atol=1e-10)
    np.testing.assert_allclose(chain.predict(HELD), plain.predict(HELD), atol=1e-10)
    nothing = GuidedRidge(steps=2, weight=0.0).fit(ROWS, TARGETS).predict(HELD, step="limit")
    assert not nothing.any()


def test_the_best_weight_matches_the_best_of_a_grid_at_every_step() -> None:
    settings = {"penalty": 0.3, "gamma": 0.5}
    chain = GuidedRidge(**settings, steps=4).fit(ROWS, TARGETS, (HELD, HELD_TARGETS))
    chosen = [1.0]
    for step in range(2, 5):
        errors = []
        for weight in np.linspace(0, 1, 101):
            one = GuidedRidge(**settings, steps=step, weight=[*chosen, weight]).fit(ROWS, TARGETS)
            errors.append(((one.predict(HELD) - HELD_TARGETS) ** 2).mean())
        assert chain.validation_error_[step - 1] <= min(errors) + 1e-12
        assert abs(chain.weights_[step - 1] - np.argmin(errors) / 100) <= 0.01
        chosen.append(float(chain.weights_[step - 1]))
    best = GuidedRidge(**settings, steps=4, predict_step="best").fit(ROWS, TARGETS, (HELD, HELD_TARGETS))
    assert best.step_ == int(np.argmin(chain.validation_error_)) + 1


def test_weights_are_clipped_unless_told_otherwise() -> None:
    free = GuidedRidge(penalty=30.0, gamma=0.5, steps=4, clip=False).fit(ROWS, TARGETS, (HELD, HELD_TARGETS))
    assert free.weights_.max() > 1
    bound = GuidedRidge(penalty=30.0, gamma=0.5, steps=4).fit(ROWS, TARGETS, (HELD, HELD_TARGETS))
    assert bound.weights_.tolist() == [1, 1, 1, 1]
    assert bound.raw_weights_[1] == pytest.approx(free.raw_weights_[1])


def test_rows_that_are_held_out_are_not_fitted_to_and_the_kernel_may_be_given() -> None:
    chain = GuidedRidge(gamma=0.5).fit(ROWS, TARGETS)
    assert chain.dual_coef_.shape == (5, 32, 2)
    from sklearn.metrics.pairwise import rbf_kernel

    given = GuidedRidge(kernel="precomputed").fit(rbf_kernel(ROWS, gamma=0.5), TARGETS)
    np.testing.assert_allclose(
        given.predict(rbf_kernel(HELD, ROWS, gamma=0.5)), chain.predict(HELD), rtol=1e-8
    )
    again = given.set_params(weight=0.5).fit(rbf_kernel(ROWS, gamma=0.5), TARGETS)
    assert again.predict(rbf_kernel(HELD, ROWS, gamma=0.5)).shape == (25, 2)


def test_it_is_tuned_by_scikit_learn() -> None:
    search = GridSearchCV(GuidedRidge(weight=0.5, steps=2), {"penalty": [1e-3, 1e3]}, cv=3).fit(ROWS, TARGETS)
    assert search.best_params_ == {"penalty": 1e-3}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"penalty": 0.0}, "penalty"),
        ({"penalty": np.nan}, "penalty"),
        ({"steps": 0}, "steps"),
        ({"weight": [0.5, 0.5]}, "weight"),
        ({"weight": np.inf}, "weight"),
        ({"kernel": "rfb"}, "kernel"),
        ({"held_out": 1.0}, "held_out"),
        ({"predict_step": 9}, "predict_step"),
        ({"predict_step": "limit"}, "only a constant weight"),
    ],
)
def test_what_no_chain_can_have_is_refused(settings: dict[str, object], names: str) -> None:
    with pytest.raises(CounterpointError, match=names):
        GuidedRidge(**settings).fit(ROWS, TARGETS)


def test_validation_of_another_width_and_unknown_steps_are_refused() -> None:
    with pytest.raises(CounterpointError, match="2 targets each"):
        GuidedRidge().fit(ROWS, TARGETS, (HELD, HELD_TARGETS[:, 0]))
    chain = GuidedRidge().fit(ROWS, TARGETS)
    for step in (0, 6, "first"):
        with pytest.raises(CounterpointError, match="expected 1 to 5"):
            chain.predict(HELD, step=step)
    with pytest.raises(CounterpointError, match="no limit"):
        chain.predict(HELD, step="limit")
