"""The error of a distilled set: loops in double precision, gradients by hand and by differences, extremes; and the bias it avoids."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.objectives.distillation.distilled_set import distilled_set_error, ridge_head, with_ones


def drawn(rows: int, width: int, real: int = 7, outputs: int = 3) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(rows)
    shapes = (rows, width), (rows, outputs), (real, width), (real, outputs)
    return tuple(torch.randn(*shape, generator=g, dtype=torch.double) for shape in shapes)


@pytest.mark.parametrize(("rows", "width"), [(4, 6), (9, 3), (2, 12), (1, 5)])
def test_it_equals_the_equations_row_by_row(rows: int, width: int) -> None:
    f, y, real, wanted = drawn(rows, width)
    found = distilled_set_error(f, y, real, wanted, relative=1e-2)
    wide, real_wide = with_ones(f), with_ones(real)
    gram = wide @ wide.T
    inverse = torch.linalg.inv(gram + 1e-2 * gram.trace() * torch.eye(rows, dtype=torch.double))
    for row in range(7):
        predicted = sum(float(real_wide[row] @ wide[m]) * (inverse[m] @ y) for m in range(rows))
        assert float(found[row]) == pytest.approx(
            sum(float(predicted[k] - wanted[row, k]) ** 2 for k in range(3)) / 3, rel=1e-8
        )


@pytest.mark.parametrize(("rows", "width"), [(4, 6), (9, 3)])
def test_gradients_are_those_of_the_paper_with_a_constant_ridge(rows: int, width: int) -> None:
    f, y, real, wanted = drawn(rows, width)
    f.requires_grad_(), y.requires_grad_(), real.requires_grad_(), wanted.requires_grad_()
    distilled_set_error(f, y, real, wanted, relative=1e-2).mean().backward()
    assert real.grad is None
    assert wanted.grad is None
    wide, real_wide = with_ones(f.detach()), with_ones(real.detach())
    gram = wide @ wide.T
    G = torch.linalg.inv(gram + 1e-2 * gram.trace() * torch.eye(rows, dtype=torch.double))
    C = G @ y.detach()
    R = real_wide @ wide.T @ C - wanted.detach()
    U, c = G @ wide @ real_wide.T @ R, 2 / R.numel()
    torch.testing.assert_close(y.grad, c * U)
    slope = c * (C @ R.T @ real_wide - (U @ C.T + C @ U.T) @ wide)
    torch.testing.assert_close(f.grad, slope[:, :-1])


def test_finite_differences_of_targets_and_of_features_behind_a_fixed_ridge() -> None:
    f, y, real, wanted = drawn(3, 5)
    assert torch.autograd.gradcheck(
        lambda t: distilled_set_error(f, t, real, wanted, 1e-2), y.requires_grad_()
    )


def test_both_sides_of_the_matrix_give_the_same_head() -> None:
    """As wide as it is long, the two forms meet; on either side of that they are the same function."""
    f, y, _, _ = drawn(6, 5)
    tall, _ = ridge_head(torch.cat([f, f]), torch.cat([y, y]), 1e-3)
    wide = with_ones(torch.cat([f, f]))
    gram = wide @ wide.T
    ridged = gram + 1e-3 * gram.trace() * torch.eye(12, dtype=torch.double)
    torch.testing.assert_close(tall, wide.T @ torch.linalg.solve(ridged, torch.cat([y, y])))


def test_a_set_that_holds_the_real_images_has_no_error_and_extremes_stay_finite() -> None:
    f, y, _, _ = drawn(4, 9)
    assert float(distilled_set_error(f, y, f, y, 1e-12).max()) < 1e-9
    big = distilled_set_error(1e4 * f, y, 1e4 * f, y)
    assert torch.isfinite(big).all()
    same = torch.ones(3, 4, requires_grad=True)  # three equal images: the ridge alone makes them solvable
    distilled_set_error(same, torch.ones(3, 2), torch.ones(2, 4), torch.ones(2, 2)).sum().backward()
    assert torch.isfinite(same.grad).all()
    assert not distilled_set_error(f, y, f[:0], y[:0]).numel()


def test_order_and_pieces_change_nothing() -> None:
    f, y, real, wanted = drawn(5, 4)
    whole = distilled_set_error(f, y, real, wanted)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(distilled_set_error(f[order], y[order], real, wanted), whole)
    parts = [distilled_set_error(f, y, real[i : i + 1], wanted[i : i + 1]) for i in range(7)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_other_widths_are_refused() -> None:
    f, y, real, wanted = drawn(5, 4)
    with pytest.raises(CounterpointError, match="the same widths"):
        distilled_set_error(f, y, real[:, :3], wanted)


def test_why_the_inner_problem_has_no_random_views() -> None:
    """The paper's bias, at its smallest: theta minimises the mean of (theta (x + e) - x)^2 over noise e = +-s.

    Solved exactly, theta = x^2 / (x^2 + s^2) grows with x; solved for one draw at a time, theta = x / (x + e), and the mean of
    those gradients has even the other sign.
    """
    x, s = torch.tensor(2.0, requires_grad=True, dtype=torch.double), 0.5
    (exact,) = torch.autograd.grad(x**2 / (x**2 + s**2), x)
    slopes = [torch.autograd.grad(x / (x + e), x)[0] for e in (s, -s)]
    assert float(exact) > 0
    assert float(sum(slopes) / 2) < 0
