"""Ridge regression in closed form: against loops in double precision, gradients, limits, extremes."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize_scalar

from counterpoint.errors import CounterpointError
from counterpoint.kernels import ridge


def gram(rows: int, seed: int = 0, columns: int = 4) -> torch.Tensor:
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return x @ x.T


def test_coefficients_solve_the_ridged_system_and_their_gradients_are_right() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(5, 3, generator=generator, dtype=torch.double, requires_grad=True)
    targets = torch.randn(5, 2, generator=generator, dtype=torch.double, requires_grad=True)

    def solved(features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return ridge.ridge_coefficients(features @ features.T, targets, 0.3)

    found = solved(features, targets)
    kernel = features @ features.T
    for row in range(5):
        left = sum(kernel[row, other] * found[other] for other in range(5)) + 0.3 * found[row]
        torch.testing.assert_close(left, targets[row])
    assert torch.autograd.gradcheck(solved, (features, targets))


def test_a_matrix_that_is_none_of_a_kernel_is_refused() -> None:
    with pytest.raises(CounterpointError, match="raise the penalty"):
        ridge.ridge_coefficients(-torch.eye(3), torch.ones(3, 1), 0.5)
    with pytest.raises(CounterpointError, match="not finite"):
        ridge.Spectrum.of(torch.full((2, 2), torch.nan))
    with pytest.raises(CounterpointError, match="penalty=0"):
        ridge.Spectrum.of(torch.eye(2)).shrinkage(0.0)


@pytest.mark.parametrize("weights", [[1, 0, 0, 0], [1, 0.3, 0.3, 0.3], [1, 1, 1, 1], [0.2, 0.9, 0.1, 0.6]])
def test_the_eigenbasis_equals_fitting_again_and_again(weights: list[float]) -> None:
    kernel, penalty = gram(7), 0.4
    targets = torch.randn(7, 2, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    spectrum = ridge.Spectrum.of(kernel)
    assert bool((spectrum.values[:-1] >= spectrum.values[1:]).all())
    shrinkage = spectrum.shrinkage(penalty)
    fit, inverse = targets, torch.linalg.inv(kernel + penalty * torch.eye(7, dtype=torch.double))
    for step, damped in enumerate(ridge.damping(shrinkage, weights)):
        fit = kernel @ inverse @ (weights[step] * targets + (1 - weights[step]) * fit)
        torch.testing.assert_close(spectrum.fitted(damped, targets), fit, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(ridge.damping_at(shrinkage, weights[: step + 1]), damped)


def test_many_steps_reach_plain_ridge_with_the_penalty_over_the_weight() -> None:
    kernel, penalty, weight = gram(9), 0.2, 0.35
    spectrum = ridge.Spectrum.of(kernel)
    last = ridge.damping(spectrum.shrinkage(penalty), [weight] * 200)[-1]
    limit = spectrum.shrinkage(ridge.limit_penalty(penalty, weight))
    torch.testing.assert_close(last, limit, rtol=0, atol=1e-10)
    alone = ridge.damping(spectrum.shrinkage(penalty), [0.0] * 20_000)[-1]
    assert float(alone.max()) < 1e-3


def test_without_truth_the_ratios_grow_without_bound_and_with_it_they_tend_to_the_limits() -> None:
    spectrum = ridge.Spectrum.of(torch.diag(torch.tensor([3.0, 1.0, 0.2], dtype=torch.double)))
    shrinkage = spectrum.shrinkage(0.5)
    alone = ridge.sparsification(ridge.damping(shrinkage, [0.0] * 30))
    assert bool((alone[1:] > alone[:-1]).all())
    assert float(alone[-1].max()) > 1e6
    guided = ridge.sparsification(ridge.damping(shrinkage, [0.4] * 60))
    bound = ridge.sparsification(spectrum.shrinkage(0.5 / 0.4)[None])[0]
    torch.testing.assert_close(guided[-1], bound)
    # On the way there they may pass it, as these do in the third step, so that it is no bound.
    assert float((guided / bound).max()) == pytest.approx(3.3738 / 3.2222, abs=1e-4)


def test_a_direction_of_nothing_stays_nothing() -> None:
    spectrum = ridge.Spectrum.of(torch.diag(torch.tensor([2.0, 0.0], dtype=torch.double)))
    damped = ridge.damping(spectrum.shrinkage(1e-8), [1.0, 0.5, 0.5])
    assert damped[:, 1].tolist() == [0, 0, 0]
    assert bool(torch.isinf(ridge.sparsification(damped)).all())


@pytest.mark.parametrize("seed", range(4))
def test_the_best_weight_is_where_a_search_ends(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    guided, alone, targets = torch.randn(3, 11, 2, generator=generator, dtype=torch.double)

    def error(weight: float) -> float:
        return float(((weight * guided + (1 - weight) * alone - targets) ** 2).sum())

    found = ridge.best_weight(guided, alone, targets)
    assert found == pytest.approx(minimize_scalar(error, tol=1e-12).x, abs=1e-6)
    order = torch.randperm(11, generator=generator)
    assert ridge.best_weight(guided[order], alone[order], targets[order]) == pytest.approx(found)


def test_the_best_weight_of_equal_predictions_is_none() -> None:
    same = torch.ones(2, 1)
    assert ridge.best_weight(same, same.clone(), torch.zeros(2, 1)) is None


@pytest.mark.parametrize("name", ["rbf", "laplacian", "cosine", "linear"])
def test_kernels_equal_scikit_learns(name: str) -> None:
    from sklearn.metrics.pairwise import pairwise_kernels

    rows, support = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    options = {} if name in ("cosine", "linear") else {"gamma": 0.7}
    expected = torch.from_numpy(pairwise_kernels(rows.numpy(), support.numpy(), metric=name, **options))
    torch.testing.assert_close(ridge.kernel_rows(name, rows, support, 0.7), expected)
    with pytest.raises(CounterpointError, match="rbf"):
        ridge.kernel_rows("rfb", rows, support, 1.0)
