"""Penalties of sparse vectors by loops, by differences, at extremes, and in parts of a batch."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.objectives.sparsity import flops, l1_norm, not_all_zero, rising_weight


def drawn(seed: int = 0) -> torch.Tensor:
    values = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.relu()


def test_flops_by_a_loop() -> None:
    vectors = drawn()
    expected = sum((sum(float(vectors[b, v]) for b in range(4)) / 4) ** 2 for v in range(6))
    assert float(flops(vectors).mean()) == pytest.approx(expected, rel=1e-12)
    expected = sum(float(vectors[2, v]) for v in range(6))
    assert float(l1_norm(vectors)[2]) == pytest.approx(expected, rel=1e-12)
    assert not_all_zero(vectors).tolist() == pytest.approx([1 / float(vectors.sum()) ** 2] * 4, rel=1e-12)


def test_gradients_by_differences() -> None:
    vectors = (drawn() + 0.1).requires_grad_()
    for penalty in (flops, l1_norm, not_all_zero):
        assert torch.autograd.gradcheck(lambda x, penalty=penalty: penalty(x).mean(), vectors)


def test_the_gradient_of_flops_is_that_of_the_squared_mean() -> None:
    """Both factors carry gradient: with one of them held constant it would be half of this."""
    one, other = ((drawn() + 0.1).requires_grad_() for _ in range(2))
    flops(one).mean().backward()
    (other.mean(0) ** 2).sum().backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)


def test_parts_of_a_batch_with_the_rest_gathered_are_the_whole() -> None:
    vectors = drawn()
    for penalty in (flops, not_all_zero):
        parts = [
            penalty(part, lambda _: vectors if _.dim() == 2 else vectors.sum(-1))
            for part in vectors.split([1, 3])
        ]
        torch.testing.assert_close(torch.cat(parts), penalty(vectors), rtol=0, atol=1e-12)


def test_order_and_extremes() -> None:
    vectors, order = drawn(), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(flops(vectors[order]), flops(vectors)[order], rtol=0, atol=1e-12)
    assert flops(1e4 * vectors).isfinite().all()
    assert flops(vectors[:1]).shape == (1,)
    assert not flops(vectors[:0]).numel()
    assert not_all_zero(torch.zeros(2, 3)).tolist() == [math.inf, math.inf]


def test_the_weight_rises_with_the_square_of_the_step() -> None:
    assert [rising_weight(0.4, step, 3) for step in (1, 2, 4, 9)] == pytest.approx([0.025, 0.1, 0.4, 0.4])
