"""The loss of degrees, as classes and as thresholds: loops, gradients, extremes, permutation."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.objectives.preference.degree import degree, recognised


def drawn(rows: int = 7, columns: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, columns, (rows,), generator=generator)


def test_loops_give_the_same() -> None:
    logits, labels = drawn()
    for row, label, classes, thresholds in zip(
        logits.tolist(),
        labels.tolist(),
        degree(logits, labels).tolist(),
        degree(logits, labels, ordinal=True).tolist(),
    ):
        assert classes == pytest.approx(math.log(sum(map(math.exp, row))) - row[label], rel=1e-12)
        expected = 0.0
        for threshold, value in enumerate(row, start=1):
            chance = 1 / (1 + math.exp(-value))
            expected -= math.log(chance if label >= threshold else 1 - chance)
        assert thresholds == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("ordinal", [False, True])
def test_gradients_extremes_and_permutation(ordinal: bool) -> None:
    logits, labels = drawn()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: degree(x, labels, ordinal=ordinal), logits)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        degree(logits[order], labels[order], ordinal=ordinal), degree(logits, labels, ordinal=ordinal)[order]
    )
    far = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = degree(far, torch.tensor([1]), ordinal=ordinal)
    value.sum().backward()
    assert far.grad is not None
    assert bool(value.isfinite().all())
    assert bool(far.grad.isfinite().all())
    assert degree(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), ordinal=ordinal).shape == (0,)


def test_what_is_recognised() -> None:
    assert recognised(torch.tensor([[0.0, 2.0, 1.0]])).tolist() == [1]
    assert recognised(torch.tensor([[3.0, 1.0, -1.0], [-1.0, -2.0, -3.0]]), ordinal=True).tolist() == [2, 0]
