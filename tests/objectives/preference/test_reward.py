"""The reward model's loss: a float64 loop, gradients, extremes, and what does not change it."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.objectives.preference.reward import bradley_terry, centre, pair_statistics


def draw(pairs: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    chosen, rejected = torch.randn(2, pairs, generator=generator, dtype=torch.float64)
    return chosen, rejected, torch.rand(pairs, generator=generator, dtype=torch.float64)


def test_a_loop_gives_the_same() -> None:
    chosen, rejected, margin = draw(7)
    for at, (w, loser, m) in enumerate(zip(chosen.tolist(), rejected.tolist(), margin.tolist())):
        expected = -math.log(1 / (1 + math.exp(-(w - loser - m))))
        assert float(bradley_terry(chosen, rejected, margin)[at]) == pytest.approx(expected, rel=1e-12)
        plain = math.log(1 + math.exp(loser - w))
        assert float(bradley_terry(chosen, rejected)[at]) == pytest.approx(plain, rel=1e-12)
        assert float(centre(chosen, rejected)[at]) == pytest.approx((w + loser) ** 2, rel=1e-12)


def test_gradients() -> None:
    chosen, rejected, margin = (each.requires_grad_() for each in draw(5, seed=1))
    assert torch.autograd.gradcheck(bradley_terry, (chosen, rejected, margin))
    assert torch.autograd.gradcheck(centre, (chosen, rejected))
    values = bradley_terry(chosen, rejected, margin).sum()
    (up,) = torch.autograd.grad(values, chosen)
    torch.testing.assert_close(up, -torch.sigmoid(-(chosen - rejected - margin)))


def test_extremes_are_finite() -> None:
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    losses = bradley_terry(far, -far)
    losses.sum().backward()
    assert losses.tolist() == [0.0, 2e4]
    assert far.grad is not None
    assert far.grad.tolist() == [0.0, -2.0]  # it stands on both sides


def test_pairs_are_by_themselves_and_a_tie_is_wrong() -> None:
    chosen, rejected, margin = draw(6, seed=2)
    whole = bradley_terry(chosen, rejected, margin)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.equal(bradley_terry(chosen[order], rejected[order], margin[order]), whole[order])
    parts = [bradley_terry(chosen[p], rejected[p], margin[p]) for p in (slice(2), slice(2, 6))]
    assert torch.equal(torch.cat(parts), whole)
    assert pair_statistics(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0]))["reward_accuracy"].tolist() == [0, 1]  # fmt: skip
