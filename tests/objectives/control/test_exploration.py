"""Contrast of next states, bonuses, n-step sums, value distributions, self-prediction: loops, gradients, extremes."""

import math

import pytest
import torch

from counterpoint.objectives.contrast.density_ratio import density_ratio
from counterpoint.objectives.control.distributional import (
    categorical_loss,
    categorical_target,
    priority,
    project,
)
from counterpoint.objectives.control.exploration import covariance, elliptical_bonus, n_step
from counterpoint.objectives.control.self_prediction import self_prediction, unit_range

DRAWS = torch.Generator().manual_seed(0)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=DRAWS, dtype=torch.float64)


def test_density_ratio_against_its_formula_and_at_extremes() -> None:
    log_f, real = normal(20), torch.arange(20) % 2
    f = log_f.exp()
    expected = torch.where(real == 1, (1 + 1 / f).log(), (1 + f).log())
    torch.testing.assert_close(density_ratio(log_f, real), expected)
    assert torch.autograd.gradcheck(lambda x: density_ratio(x, real), log_f.requires_grad_())
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = density_ratio(far, torch.tensor([0, 1]))
    loss.sum().backward()
    assert loss.tolist() == [1e4, 1e4]
    assert far.grad.tolist() == [1.0, -1.0]


def test_the_true_ratio_is_the_minimum() -> None:
    p, q = (normal(7).softmax(-1) for _ in range(2))
    log_f = (p / q).log().requires_grad_()
    ones, zeros = torch.ones(7), torch.zeros(7)

    def expected_loss(x: torch.Tensor) -> torch.Tensor:
        return (p * density_ratio(x, ones) + q * density_ratio(x, zeros)).sum() / 2

    (gradient,) = torch.autograd.grad(expected_loss(log_f), log_f)
    assert gradient.abs().max() < 1e-12
    assert expected_loss(log_f + 0.1 * normal(7)) > expected_loss(log_f)


def test_bonus_is_a_width_that_shrinks_and_both_forms_agree() -> None:
    phi = normal(9, 3)
    sigma = covariance(phi, 0.5)
    width = elliptical_bonus(phi, sigma, 2.0)
    explicit = torch.stack([2.0 * (v @ torch.linalg.inv(sigma) @ v).sqrt() for v in phi])
    torch.testing.assert_close(width, explicit)
    averaged = elliptical_bonus(phi, covariance(phi, 0.5 / 9, average=True), 2.0 / 3.0)
    torch.testing.assert_close(averaged, width)
    seen, last = phi[:1], math.inf
    for _ in range(5):
        now = float(elliptical_bonus(phi[:1], covariance(seen, 0.5), 1.0))
        assert now < last
        seen, last = torch.cat([seen, phi[:1]]), now
    assert elliptical_bonus(phi, sigma, 1e9, cap=4.0).tolist() == [4.0] * 9
    nearly = 1e-5 * torch.eye(3, dtype=torch.float64) + torch.outer(phi[0], phi[0])
    assert bool(torch.isfinite(elliptical_bonus(phi, nearly, 1.0)).all())


@pytest.mark.parametrize("whole", [True, False])
def test_n_step_sums_against_loops(whole: bool) -> None:
    values, done = normal(8, 3), torch.rand(8, 3, generator=DRAWS) < 0.3
    found = n_step(values, done, 3, 0.9, whole)
    for t in range(8):
        for b in range(3):
            total = 0.0
            for k in range(3 if t < 5 else 0):
                stopped = bool(done[t : t + k, b].any()) if whole else bool(done[t, b])
                total += 0.0 if stopped else 0.9**k * float(values[t + k, b])
            assert math.isclose(float(found[t, b]), total, abs_tol=1e-12)


def test_projection_against_the_published_loop() -> None:
    atoms = torch.linspace(-1, 3, 5, dtype=torch.float64)
    p, z = normal(4, 5).softmax(-1), 3 * normal(4, 5)
    expected = torch.zeros(4, 5, dtype=torch.float64)
    for b in range(4):
        for i in range(5):
            place = (min(max(float(z[b, i]), -1.0), 3.0) + 1.0) / 1.0
            low, high = math.floor(place), math.ceil(place)
            if low == high:
                expected[b, low] += p[b, i]
            else:
                expected[b, low] += p[b, i] * (high - place)
                expected[b, high] += p[b, i] * (place - low)
    torch.testing.assert_close(project(p, z, atoms), expected)


def test_value_loss_gradients_priority_and_the_end_of_an_episode() -> None:
    atoms = torch.linspace(-2, 2, 5, dtype=torch.float64)
    after = normal(3, 2, 5).softmax(-1)
    done = torch.tensor([True, False, True])
    target = categorical_target(
        after, None, torch.tensor([1.0, 0.0, 9.0], dtype=torch.float64), done, atoms, 0.9
    )
    torch.testing.assert_close(target[0], torch.tensor([0.0, 0, 0, 1, 0], dtype=torch.float64))
    torch.testing.assert_close(target[2], torch.tensor([0.0, 0, 0, 0, 1], dtype=torch.float64))
    logits, action = normal(3, 2, 5).requires_grad_(), torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(lambda x: categorical_loss(x, action, target), logits)
    exact = target[1].log().expand(1, 2, 5)
    assert float(priority(exact, torch.tensor([0]), target[1:2])) == pytest.approx(1e-6)
    huge = torch.tensor([[[1e4, -1e4, 0, 0, 0]]], dtype=torch.float64)
    assert bool(torch.isfinite(categorical_loss(huge, torch.tensor([0]), target[:1])).all())


def test_self_prediction_is_two_minus_two_cosines_and_keeps_the_target_fixed() -> None:
    a, b = normal(4, 6).requires_grad_(), normal(4, 6).requires_grad_()
    torch.testing.assert_close(self_prediction(a, b), 2 - 2 * torch.cosine_similarity(a, b))
    self_prediction(a, b).sum().backward()
    assert b.grad is None
    assert (a.grad * a).sum(-1).abs().max() < 1e-12
    assert torch.autograd.gradcheck(lambda x: self_prediction(x, b), a)
    assert bool(torch.isfinite(self_prediction(torch.zeros(1, 3), torch.zeros(1, 3))).all())
    flat = unit_range(torch.full((2, 3, 3), 7.0), dims=2)
    assert flat.tolist() == torch.zeros(2, 3, 3).tolist()
