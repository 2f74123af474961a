"""Self-evaluation: loops in double precision, gradients by differences, extremes, invariances."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.objectives.distillation.self_evaluation import (
    judged_picture,
    mixed_target,
    renormalised_target,
    self_evaluation,
    self_weight,
    time_weight,
)


def drawn(rows: int = 5, shape: tuple[int, ...] = (2, 3)) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(rows)
    pictures = [torch.randn(rows, *shape, generator=g, dtype=torch.double) for _ in range(5)]
    t = 0.05 + 0.9 * torch.rand(rows, generator=g, dtype=torch.double)
    s = t * torch.rand(rows, generator=g, dtype=torch.double)
    s[0] = t[0]
    return (*pictures, t, s)


def by_loop(
    predicted: Tensor, clean: Tensor, judged: Tensor, t: Tensor, s: Tensor, mixed: bool
) -> list[float]:
    losses = []
    for x, x0, j, t_, s_ in zip(
        *(each.flatten(1).tolist() for each in (predicted, clean, judged)), t.tolist(), s.tolist()
    ):
        weight = t_ / (1 - t_) - s_ / (1 - s_)
        if mixed:
            losses.append(sum((a - b) ** 2 + weight * (a - c) ** 2 for a, b, c in zip(x, x0, j)))
            continue
        total = [b + weight * c for b, c in zip(x0, j)]
        ratio = math.sqrt(sum(b * b for b in x0)) / math.sqrt(sum(u * u for u in total))
        losses.append(sum((a - ratio * u) ** 2 for a, u in zip(x, total)))
    return losses


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_it_equals_the_equations_picture_by_picture(mixed: bool, rows: int) -> None:
    predicted, clean, cond, uncond, fake, t, s = drawn(rows)
    judged = judged_picture(predicted, cond, uncond, fake, 0.9)
    for got, x, c, u, f in zip(judged, predicted, cond, uncond, fake):
        torch.testing.assert_close(got, x - (0.9 * (u - c) + 0.1 * (f - c)), rtol=1e-12, atol=1e-12)
    losses = self_evaluation(predicted, clean, judged, t, s, "mixed" if mixed else "renormalised")
    assert losses.tolist() == pytest.approx(by_loop(predicted, clean, judged, t, s, mixed), rel=1e-10)


def test_the_judgement_moves_the_picture_along_the_classifier_score() -> None:
    """The gradient of lambda ||x - x_self||^2 is 2 lambda (G_null - G_c): descent goes to where the prompt is more likely."""
    predicted, clean, cond, uncond, _, t, s = drawn()
    predicted.requires_grad_()
    judged = judged_picture(predicted, cond, uncond)
    whole = self_evaluation(predicted, clean, judged, t, s, "mixed").sum()
    (slope,) = torch.autograd.grad(whole, predicted)
    weight = self_weight(t, s).view(-1, 1, 1)
    expected = 2 * (predicted.detach() - clean) + 2 * weight * (uncond - cond)
    torch.testing.assert_close(slope, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("target", ["renormalised", "mixed"])
def test_finite_differences_and_no_gradient_to_targets(target: str) -> None:
    predicted, clean, judged, _, _, t, s = drawn(3)
    check = torch.autograd.gradcheck(
        lambda x: self_evaluation(x, clean, judged, t, s, target), predicted.requires_grad_()
    )
    assert check
    clean.requires_grad_()
    self_evaluation(
        predicted, clean, judged_picture(predicted, judged, judged), t, s, "renormalised"
    ).sum().backward()
    assert clean.grad is None
    assert torch.isfinite(predicted.grad).all()


@pytest.mark.parametrize("target", ["renormalised", "mixed"])
def test_where_s_is_t_it_is_flow_matching_whatever_was_judged(target: str) -> None:
    predicted, clean, judged, other, _, t, _ = drawn()
    plain = (predicted - clean).square().sum((1, 2))
    for each in (judged, other):
        torch.testing.assert_close(
            self_evaluation(predicted, clean, each, t, t, target), plain, rtol=1e-10, atol=0
        )


def test_the_renormalised_target_has_the_pictures_norm_and_is_finite_at_the_ends() -> None:
    _, clean, judged, _, _, t, s = drawn()
    for first, second in (
        (t, s),
        (torch.ones_like(t), s),
        (torch.ones_like(t), torch.ones_like(t)),
        (t, torch.zeros_like(t)),
    ):
        target = renormalised_target(clean, judged, first, second)
        torch.testing.assert_close(
            target.flatten(1).norm(dim=1), clean.flatten(1).norm(dim=1), rtol=1e-10, atol=0
        )
    at_noise = mixed_target(clean, judged, torch.ones_like(t), s)
    torch.testing.assert_close(at_noise, judged, rtol=1e-12, atol=0)


def test_extremes_and_the_limit_of_the_weight() -> None:
    predicted, clean, judged, _, _, t, s = drawn()
    huge = self_evaluation(1e4 * predicted, clean, 1e4 * judged, torch.full_like(t, 0.999), s)
    assert torch.isfinite(huge).all()
    opposed = renormalised_target(
        clean, -clean * (1 - 0.5) / 0.5, torch.full_like(t, 0.5), torch.zeros_like(t)
    )
    assert torch.isfinite(opposed).all()
    late = torch.full_like(t, 0.995)
    limited = self_evaluation(predicted, clean, judged, late, 0 * s, "mixed", limit=20.0)
    expected = (predicted - clean).square().sum((1, 2)) + 20 * (predicted - judged).square().sum((1, 2))
    torch.testing.assert_close(limited, expected)


@pytest.mark.parametrize("target", ["renormalised", "mixed"])
def test_order_and_parts_of_a_batch_do_not_matter(target: str) -> None:
    predicted, clean, judged, _, _, t, s = drawn()
    whole = self_evaluation(predicted, clean, judged, t, s, target)
    order = torch.tensor([3, 0, 4, 1, 2])
    mixed_up = self_evaluation(predicted[order], clean[order], judged[order], t[order], s[order], target)
    torch.testing.assert_close(mixed_up, whole[order], rtol=1e-12, atol=0)
    parts = [
        self_evaluation(*(each[a:b] for each in (predicted, clean, judged, t, s)), target)
        for a, b in ((0, 2), (2, 2), (2, 5))
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=0)


def test_with_the_weight_the_data_term_is_the_error_of_the_velocity() -> None:
    _, clean, noise, velocity, _, t, _ = drawn()
    at = t.view(-1, 1, 1)
    x_t = (1 - at) * clean + at * noise
    loss = time_weight(t) * self_evaluation(x_t - at * velocity, clean, clean, t, t)
    torch.testing.assert_close(loss, (velocity - (noise - clean)).square().sum((1, 2)), rtol=1e-9, atol=0)
