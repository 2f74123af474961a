"""Peaks of a head over a text's tokens: the plain form, blocks, and a loop; ties, padding, empty texts; memory of the backward."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import kernel_path
from counterpoint.kernels.scores import Head
from counterpoint.kernels.vocabulary.peaks import positive_peak, saturated_peak

PATHS = ("plain", "stream")


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (
        torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((3, 5, 4), (67, 4), (67,))
    )
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [1, 1, 1, 1, 1]])
    return hidden, weight, bias - 2, mask


def by_a_loop(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    peaks = torch.zeros(len(hidden), len(weight), dtype=hidden.dtype)
    for b in range(len(hidden)):
        for v in range(len(weight)):
            for t in range(hidden.shape[1]):
                if mask[b, t]:
                    peaks[b, v] = max(float(peaks[b, v]), float(hidden[b, t] @ weight[v] + bias[v]))
    return peaks


@pytest.mark.parametrize("path", PATHS)
def test_values_and_gradients_by_a_loop(path: str) -> None:
    hidden, weight, bias, mask = drawn()
    leaves = [each.clone().requires_grad_() for each in (hidden, weight, bias)]
    with kernel_path(path, budget_bytes=1024):
        peaks = positive_peak(Head(*leaves), mask)
        torch.testing.assert_close(peaks, by_a_loop(hidden, weight, bias, mask), rtol=0, atol=1e-12)
        cotangent = torch.randn_like(peaks)
        peaks.backward(cotangent)
    expected = [torch.zeros_like(each) for each in (hidden, weight, bias)]
    logits = torch.einsum("btd,vd->btv", hidden, weight) + bias
    for b in range(3):
        for v in range(len(weight)):
            best = max((t for t in range(5) if mask[b, t]), key=lambda t: float(logits[b, t, v]))
            if logits[b, best, v] > 0:
                expected[0][b, best] += cotangent[b, v] * weight[v]
                expected[1][v] += cotangent[b, v] * hidden[b, best]
                expected[2][v] += cotangent[b, v]
    for leaf, grad in zip(leaves, expected, strict=True):
        torch.testing.assert_close(leaf.grad, grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
def test_gradients_by_differences(path: str) -> None:
    hidden, weight, bias, mask = drawn(1)
    leaves = [each.clone().requires_grad_() for each in (hidden, weight[:9], bias[:9] + 2)]
    with kernel_path(path, budget_bytes=1024):
        assert torch.autograd.gradcheck(lambda h, w, b: positive_peak(Head(h, w, b), mask), leaves)


@pytest.mark.parametrize("path", PATHS)
def test_equal_logits_give_the_gradient_to_one_position(path: str) -> None:
    hidden = torch.ones(1, 3, 1, dtype=torch.float64, requires_grad=True)
    with kernel_path(path):
        positive_peak(
            Head(hidden, torch.tensor([[1.0], [-1.0], [0.0]]).double()), torch.ones(1, 3)
        ).sum().backward()
    assert hidden.grad.flatten().tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("path", PATHS)
def test_a_text_without_tokens_and_no_text(path: str) -> None:
    hidden, weight, bias, mask = drawn()
    hidden.requires_grad_()
    with kernel_path(path):
        peaks = positive_peak(Head(hidden, weight, bias), 0 * mask)
        assert peaks.shape == (3, 67)
        assert not peaks.any()
        peaks.sum().backward()
        assert not hidden.grad.any()
        none = positive_peak(Head(hidden[:0], weight, bias), mask[:0])
        assert none.shape == (0, 67)
        assert positive_peak(Head(hidden[:, :0], weight, bias), mask[:, :0]).shape == (3, 67)


def test_large_logits_and_half_precision() -> None:
    hidden, weight, bias, mask = drawn()
    for path in PATHS:
        with kernel_path(path):
            assert positive_peak(Head(1e4 * hidden, weight, bias), mask).isfinite().all()
            half = hidden.bfloat16().requires_grad_()
            peaks = positive_peak(Head(half, weight.bfloat16(), bias.bfloat16()), mask)
            assert peaks.dtype == torch.float32
            peaks.sum().backward()
            assert half.grad.dtype == torch.bfloat16


def test_the_head_of_frozen_weights_gets_no_gradient() -> None:
    hidden, weight, bias, mask = drawn()
    gradients = []
    for path in ("stream", "plain"):
        here = hidden.clone().requires_grad_()
        with kernel_path(path):
            gradients += torch.autograd.grad(positive_peak(Head(here, weight, bias), mask).sum(), here)
        assert weight.grad is None
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().sum() > 0


def test_a_mask_of_another_shape_is_refused() -> None:
    hidden, weight, bias, mask = drawn()
    with pytest.raises(CounterpointError, match=r"expected \[B, T\] for both"):
        positive_peak(Head(hidden, weight, bias), mask[:, :4])


def test_pooling_by_a_loop() -> None:
    g = torch.Generator().manual_seed(2)
    logits = 30 * torch.randn(2, 3, 5, generator=g, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    vectors = saturated_peak(logits, mask)
    for b in range(2):
        for v in range(5):
            each = [math.log1p(max(float(logits[b, t, v]), 0.0)) * float(mask[b, t]) for t in range(3)]
            assert float(vectors[b, v]) == pytest.approx(max(each), rel=1e-12, abs=1e-15)
    moved = saturated_peak(logits.flip(1), mask.flip(1))
    torch.testing.assert_close(moved, vectors, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x: saturated_peak(x, mask), logits.clone().requires_grad_())
