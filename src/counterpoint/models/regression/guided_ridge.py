"""Kernel ridge regression that learns from itself step by step, as a scikit-learn estimator (arXiv 2102.13088). Any kernel.

Step s fits t = a Y + (1 - a) y^(s-1), the truth mixed with the fit of the step before. Every step, and the limit of constant
weights, comes from one eigendecomposition of the Gram matrix. N rows, F columns, K targets, S steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels import ridge

NAMED = ("rbf", "laplacian", "polynomial", "poly", "sigmoid", "chi2", "linear", "cosine", "additive_chi2")


class GuidedRidge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """A chain of kernel ridge regressions.

    Args:
        penalty: added to the Gram matrix's diagonal as it is, not times N.
        steps: S; 1 is plain kernel ridge regression.
        weight: a, of the truth in every step; a sequence gives one to each step (the first is without effect); "best" chooses
            each step's on held-out rows, in closed form.
        clip: bring a best weight into [0, 1], outside of which later steps overshoot.
        kernel: a name of scikit-learn's, "precomputed", or a function of two rows that gives a number.
        gamma, degree, coef0: of the kernel; gamma None is one over the columns.
        predict_step: which step predicts, from 1 to S, "last", "limit" (of a constant weight above 0), or "best" on held-out rows.
        held_out: share of the rows that "best" holds out when ``fit`` is given no ``validation``; the last ones of an order
            drawn with ``random_state``. They are not fitted to.
        random_state: of that order.

    Attributes:
        weights_, raw_weights_: [S] used, and before they were clipped.
        eigenvalues_: [N] from the largest on. shrinkage_: [N] what one fit keeps of each direction.
        damping_: [S, N] what the fit of each step keeps. sparsification_: [S, N - 1] ratios of neighbours.
        dual_coef_: [S, N, K], and ``limit_coef_`` [N, K] or None. fits_: [S, N, K] on the training rows.
        validation_error_: [S] mean squared errors; None without held-out rows.
        step_: the step that predicts.

    >>> rows = np.linspace(0, 1, 8)[:, None]
    >>> chain = GuidedRidge(penalty=0.1, steps=3, weight=0.5, gamma=10.0).fit(rows, np.sin(6 * rows[:, 0]))
    >>> chain.predict(rows).shape, chain.damping_.shape
    ((8,), (3, 8))
    """

    _rows: np.ndarray | None
    """Of a precomputed kernel's rows, those that were fitted to, where some were held out."""

    def __init__(
        self,
        penalty: float = 1.0,
        steps: int = 5,
        weight: float | Sequence[float] | Literal["best"] = "best",
        clip: bool = True,
        kernel: str | Callable[[np.ndarray, np.ndarray], float] = "rbf",
        gamma: float | None = None,
        degree: float = 3,
        coef0: float = 1.0,
        predict_step: int | Literal["best", "last", "limit"] = "last",
        held_out: float = 0.2,
        random_state: int | None = 0,
    ) -> None:
        self.penalty, self.steps, self.weight, self.clip = penalty, steps, weight, clip
        self.kernel, self.gamma, self.degree, self.coef0 = kernel, gamma, degree, coef0
        self.predict_step, self.held_out, self.random_state = predict_step, held_out, random_state

    def fit(
        self, X: Any, y: Any, validation: tuple[Any, Any] | None = None
    ) -> GuidedRidge:  # names as scikit-learn's
        """Fit all steps.

        Args:
            X: [N, F] rows, or the Gram matrix [N, N] of a precomputed kernel. y: [N] or [N, K].
            validation: held-out rows [M, F] (a precomputed kernel's [M, N]) with their targets.

        Raises:
            CounterpointError: a setting out of range, held-out rows that are needed and missing, or targets of another width.
            ValueError: scikit-learn's, of arrays that hold no finite numbers.
        """
        self._check()
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        if self.kernel == "precomputed" and X.shape[0] != X.shape[1]:
            raise ValueError(
                f"a precomputed kernel of shape {X.shape}; expected a square Gram matrix, as many columns as rows"
            )
        y = np.asarray(y, dtype=np.float64)
        self._flat, self._rows = y.ndim == 1, None
        targets = y.reshape(len(y), -1)
        if validation is None and "best" in (self.weight, self.predict_step):
            X, targets, validation = self._hold_out(X, targets)
        self.X_fit_ = X
        gram = torch.from_numpy(self._kernel(X, X))
        spectrum, Y = ridge.Spectrum.of(gram), torch.from_numpy(targets)
        shrinkage = spectrum.shrinkage(self.penalty)
        held = None if validation is None else self._held(validation, targets.shape[1])
        used, raw, mixed, damped, errors = [1.0], [1.0], torch.ones_like(shrinkage), [shrinkage], []
        coefficients = [spectrum.coefficients(mixed, Y, self.penalty)]
        first = None if held is None else held[0] @ coefficients[0]
        if held is not None and first is not None:
            errors.append(float(((first - held[1]) ** 2).mean()))
        for step in range(1, self.steps):
            weight = self._weight(step)
            if weight is None:
                assert held is not None
                assert first is not None
                alone = held[0] @ spectrum.coefficients(damped[-1], Y, self.penalty)
                estimate = ridge.best_weight(first, alone, held[1])
                raw.append(raw[-1] if estimate is None else estimate)
                weight = min(max(raw[-1], 0.0), 1.0) if self.clip else raw[-1]
            else:
                raw.append(weight)
            used.append(weight)
            mixed = ridge.mixture(damped[-1], weight)
            damped.append(shrinkage * mixed)
            coefficients.append(spectrum.coefficients(mixed, Y, self.penalty))
            if held is not None:
                errors.append(float(((held[0] @ coefficients[-1] - held[1]) ** 2).mean()))
        self.weights_, self.raw_weights_ = np.array(used), np.array(raw)
        self.eigenvalues_, self.shrinkage_ = spectrum.values.numpy(), shrinkage.numpy()
        self.damping_ = torch.stack(damped).numpy()
        self.sparsification_ = ridge.sparsification(torch.stack(damped)).numpy()
        self.dual_coef_ = torch.stack(coefficients).numpy()
        self.fits_ = torch.stack([spectrum.fitted(one, Y) for one in damped]).numpy()
        self.validation_error_ = np.array(errors) if errors else None
        self.limit_coef_ = self._limit(spectrum, Y)
        self.step_ = self._chosen()
        return self

    def predict(self, X: Any, step: int | Literal["limit"] | None = None) -> np.ndarray:
        """[M] or [M, K] predictions of one step; None is the one that ``predict_step`` chose.

        Raises:
            CounterpointError: a step that was not fitted.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        chosen = self.step_ if step is None else step
        if chosen == "limit":
            if self.limit_coef_ is None:
                raise CounterpointError("there is no limit of weights that change; give a constant weight")
            coefficients = self.limit_coef_
        elif isinstance(chosen, int | np.integer) and 1 <= chosen <= self.steps:
            coefficients = self.dual_coef_[chosen - 1]
        else:
            raise CounterpointError(f"step={chosen!r}; expected 1 to {self.steps}, or 'limit'")
        given = X[:, self._rows] if self.kernel == "precomputed" and self._rows is not None else X
        predicted = self._kernel(given, self.X_fit_) @ coefficients
        return predicted[:, 0] if self._flat else predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def _check(self) -> None:
        weights: Any = [] if self.weight == "best" else np.atleast_1d(np.asarray(self.weight, dtype=float))
        one_each = np.ndim(self.weight) == 0 or len(weights) == self.steps
        steps = self.predict_step in ("best", "last", "limit") or (
            isinstance(self.predict_step, int | np.integer) and 1 <= self.predict_step <= self.steps
        )
        constant = self.predict_step != "limit" or (
            self.weight != "best" and np.ndim(self.weight) == 0 and float(self.weight) > 0  # type: ignore[arg-type]
        )
        for name, fits, expected in (
            ("penalty", 0 < self.penalty < np.inf, "a finite number above 0, for example 1.0"),
            ("steps", int(self.steps) == self.steps >= 1, "a whole number from 1 on"),
            ("weight", one_each and np.isfinite(weights).all(), "a number, one of each step, or 'best'"),
            ("kernel", callable(self.kernel) or self.kernel in (*NAMED, "precomputed"), ", ".join(NAMED)),
            ("held_out", 0 < self.held_out < 1, "a share between 0 and 1"),
            ("predict_step", steps, f"1 to {self.steps}, 'best', 'last' or 'limit'"),
            ("predict_step", constant, "a step: only a constant weight above 0 has a limit to predict with"),
        ):
            if not fits:
                raise CounterpointError(f"GuidedRidge: {name}={getattr(self, name)!r}; expected {expected}")

    def _weight(self, step: int) -> float | None:
        if isinstance(self.weight, str):
            return None
        return float(self.weight if np.ndim(self.weight) == 0 else self.weight[step])  # type: ignore[arg-type, index]

    def _hold_out(self, X: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
        order = np.random.default_rng(self.random_state).permutation(len(X))
        count = min(max(1, round(self.held_out * len(X))), len(X) - 1)
        if count < 1:
            raise ValueError(
                f"a best weight needs rows to hold out, and there is 1 sample; give {self.steps} weights, or validation=(rows, targets)"
            )
        fitted, held = np.sort(order[count:]), np.sort(order[:count])
        self._rows = fitted
        if self.kernel == "precomputed":
            return X[np.ix_(fitted, fitted)], targets[fitted], (X[held], targets[held])
        return X[fitted], targets[fitted], (X[held], targets[held])

    def _held(self, validation: tuple[Any, Any], width: int) -> tuple[Tensor, Tensor]:
        rows = check_array(validation[0], dtype=np.float64)
        wanted = check_array(validation[1], dtype=np.float64, ensure_2d=False)
        wanted = wanted.reshape(len(wanted), -1)
        if len(rows) != len(wanted) or wanted.shape[1] != width:
            raise CounterpointError(
                f"validation of {len(rows)} rows with targets {wanted.shape}; expected as many rows as targets, and {width} targets each"
            )
        if self.kernel == "precomputed" and self._rows is not None:
            rows = rows[:, self._rows]
        return torch.from_numpy(self._kernel(rows, self.X_fit_)), torch.from_numpy(wanted)

    def _kernel(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        if self.kernel == "precomputed":
            return np.ascontiguousarray(rows)
        options = (
            {} if callable(self.kernel) else {"gamma": self.gamma, "degree": self.degree, "coef0": self.coef0}
        )
        return np.ascontiguousarray(
            pairwise_kernels(rows, others, metric=self.kernel, filter_params=True, **options),
            dtype=np.float64,
        )

    def _limit(self, spectrum: ridge.Spectrum, Y: Tensor) -> np.ndarray | None:
        """Of a constant weight: plain ridge with a larger penalty; of none at all, nothing is left."""
        if isinstance(self.weight, str) or np.ndim(self.weight):
            return None
        weight = float(self.weight)  # type: ignore[arg-type]
        if weight == 0:
            return np.zeros(Y.shape)
        if not 0 < weight <= 1:
            return None
        penalty = ridge.limit_penalty(float(self.penalty), weight)
        return spectrum.coefficients(torch.ones_like(spectrum.values), Y, penalty).numpy()

    def _chosen(self) -> int | str:
        if self.predict_step == "best":
            assert self.validation_error_ is not None
            return int(np.argmin(self.validation_error_)) + 1
        return self.steps if self.predict_step == "last" else self.predict_step
