"""The guided error: a loop, gradients, extremes, permutations and splits."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.objectives.distillation.guidance import guided_error, norms


def drawn(items: int = 6, outputs: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, items, outputs, generator=generator, dtype=torch.double)
    targets = torch.eye(outputs, dtype=torch.double)[torch.arange(items) % outputs]
    return logits.requires_grad_(), targets, teacher.requires_grad_()


def test_it_equals_a_loop() -> None:
    logits, targets, teacher = drawn()
    p, t = logits.detach().softmax(1), teacher.detach().softmax(1)
    found = guided_error(p, targets, t, 0.3)
    for item in range(6):
        truth = sum(float(p[item, c] - targets[item, c]) ** 2 for c in range(3)) / 3
        copied = sum(float(p[item, c] - t[item, c]) ** 2 for c in range(3)) / 3
        assert float(found[item]) == pytest.approx(0.3 * truth + 0.7 * copied, rel=1e-12)


def test_only_the_student_has_a_gradient_and_it_is_right() -> None:
    logits, targets, teacher = drawn(3)
    guided_error(logits.softmax(1), targets, teacher.softmax(1), 0.3).sum().backward()
    assert teacher.grad is None
    constant = teacher.detach().softmax(1)
    assert torch.autograd.gradcheck(lambda z: guided_error(z.softmax(1), targets, constant, 0.3), logits)


def test_the_whole_weight_or_no_teacher_is_the_plain_error() -> None:
    logits, targets, teacher = drawn()
    plain = ((logits - targets) ** 2).mean(1)
    torch.testing.assert_close(guided_error(logits, targets, teacher, 1.0), plain)
    torch.testing.assert_close(guided_error(logits, targets, None, 0.2), plain)
    torch.testing.assert_close(guided_error(logits, targets, teacher, 0.0), ((logits - teacher) ** 2).mean(1))


def test_it_is_the_error_to_the_mixed_target_up_to_a_constant() -> None:
    """The step that makes the chain linear: both terms have the gradient of one, to a Y + (1 - a) t."""
    logits, targets, teacher = drawn()
    mixed = 0.3 * targets + 0.7 * teacher.detach()
    (one,) = torch.autograd.grad(guided_error(logits, targets, teacher, 0.3).sum(), logits)
    (other,) = torch.autograd.grad(((logits - mixed) ** 2).mean(1).sum(), logits)
    torch.testing.assert_close(one, other)


def test_extremes_order_and_pieces() -> None:
    logits, targets, teacher = drawn()
    p = (logits * 1e4).softmax(1)
    onehot = torch.eye(3, dtype=torch.double)[logits.argmax(1)]
    expected = 0.5 * ((onehot - targets) ** 2 + (onehot - teacher) ** 2).mean(1)
    torch.testing.assert_close(guided_error(p, targets, teacher, 0.5), expected)
    whole = guided_error(logits, targets, teacher, 0.5)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    torch.testing.assert_close(guided_error(logits[order], targets[order], teacher[order], 0.5), whole[order])
    parts = [guided_error(logits[i : i + 1], targets[i : i + 1], teacher[i : i + 1], 0.5) for i in range(6)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_shapes_that_would_be_broadcast_are_refused() -> None:
    with pytest.raises(CounterpointError, match="targets of shape"):
        guided_error(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(CounterpointError, match="teacher of shape"):
        guided_error(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(1, 2))


def test_norms_are_not_squared_and_zeros_have_no_gradient() -> None:
    weights = [torch.tensor([[3.0, 0.0], [0.0, 4.0]], requires_grad=True), torch.zeros(3, requires_grad=True)]
    total = norms(weights)
    assert float(total) == pytest.approx(5.0)
    total.backward()
    torch.testing.assert_close(weights[0].grad, weights[0].detach() / 5)
    assert weights[1].grad.tolist() == [0, 0, 0]
