"""The advantage loss: a loop, gradients, extremes, what stored entries leave out, and where its gradient flow ends."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.kernels.vocabulary import divergence
from counterpoint.objectives.distillation.distribution_advantage import (
    Top,
    advantage_loss,
    stored_advantage_loss,
    stored_forward_kl,
    top_of,
)


def drawn(rows: int = 5, vocabulary: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    student, after, before = torch.randn(
        3, rows, vocabulary, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    return student, after, before


@pytest.mark.parametrize("clip", [None, (0.0, 1.0), (-0.5, 0.5)])
@pytest.mark.parametrize("reference", [True, False])
def test_a_loop_gives_the_same(clip: tuple[float, float] | None, reference: bool) -> None:
    student, after, before = drawn()
    losses = advantage_loss(student, after, before if reference else None, clip=clip)
    pi, plus, minus = (x.softmax(-1).tolist() for x in (student, after, before))
    for at, loss in enumerate(losses.tolist()):
        expected = 0.0
        for p, q, r in zip(pi[at], plus[at], minus[at]):
            advantage = math.log(q) - (math.log(r) if reference else 0.0)
            if clip is not None:
                advantage = min(max(advantage, clip[0]), clip[1])
            expected -= p * advantage
        assert loss == pytest.approx(expected, rel=1e-10)


def test_the_gradient_is_the_policys_advantage_and_the_students_alone() -> None:
    student, after, before = (x.requires_grad_() for x in drawn())
    advantage_loss(student, after, before).sum().backward()
    pi, a = student.detach().softmax(-1), (after.log_softmax(-1) - before.log_softmax(-1)).detach()
    torch.testing.assert_close(student.grad, -pi * (a - (pi * a).sum(-1, keepdim=True)))
    assert after.grad is None
    assert before.grad is None
    for clip in (None, (0.0, 1.0)):
        assert torch.autograd.gradcheck(
            lambda x: advantage_loss(x, after.detach(), before.detach(), clip=clip), student
        )


def test_extremes_and_masks() -> None:
    far = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = advantage_loss(far, -far.detach(), torch.zeros(1, 3))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([2e4 - math.log(3)])
    assert far.grad is not None
    assert not far.grad.any()
    student, after, before = drawn()
    mask = torch.tensor([True, False, True, True, False])
    for clip in (None, (0.0, 1.0)):
        masked = advantage_loss(student, after, before, clip=clip, mask=mask)
        torch.testing.assert_close(masked, advantage_loss(student, after, before, clip=clip) * mask)


def test_stored_entries_by_a_loop() -> None:
    student, after, before = drawn()
    plus, minus, pi = (x.softmax(-1) for x in (after, before, student))
    top = top_of(after, before, 3)
    kl, loss = stored_forward_kl(student, top), stored_advantage_loss(student, top, clip=(-1.0, 0.4))
    for at in range(len(student)):
        ids = sorted(range(7), key=lambda v: -float(plus[at, v]))[:3]
        reference_ids = sorted(range(7), key=lambda v: -float(minus[at, v]))[:3]
        least = float(plus[at, ids[-1]])
        expected, divergence_at = 0.0, 0.0
        for v in ids:
            r = float(minus[at, v]) if v in reference_ids else least
            a = math.log(float(plus[at, v])) - math.log(r)
            expected -= float(pi[at, v]) * min(max(a, -1.0), 0.4)
            divergence_at += float(plus[at, v]) * math.log(float(plus[at, v]) / float(pi[at, v]))
        p, q = (1 - sum(float(x[at, v]) for v in ids) for x in (plus, pi))
        assert float(loss[at]) == pytest.approx(expected, rel=1e-9)
        assert float(kl[at]) == pytest.approx(divergence_at + p * math.log(p / q), rel=1e-9)
    assert bool((kl <= divergence(student, after) + 1e-12).all())
    whole = top_of(after, before, 7)
    torch.testing.assert_close(stored_forward_kl(student, whole), divergence(student, after))
    torch.testing.assert_close(stored_advantage_loss(student, whole), advantage_loss(student, after, before))
    assert torch.autograd.gradcheck(lambda x: stored_forward_kl(x, top), student.requires_grad_())
    assert torch.autograd.gradcheck(lambda x: stored_advantage_loss(x, top), student)


def test_masked_stored_rows_give_nothing() -> None:
    student, after, before = drawn()
    mask = torch.tensor([True, False, True, True, False])
    top = top_of(after, before, 3)
    empty = Top(top.ids, top.probs * 0, top.advantages * 0)  # type: ignore[operator]
    for loss in (
        stored_forward_kl(student, empty, mask=mask),
        stored_advantage_loss(student, top, mask=mask),
    ):
        assert loss[~mask].tolist() == [0.0, 0.0]


def test_with_a_tie_to_the_start_the_flow_ends_at_its_tilted_distribution() -> None:
    """Minimising L_adv + c KL(pi || pi_0) gives pi_0 exp(A / c), normalised: the max-entropy solution."""
    start, after, before = drawn(rows=2)
    student, c = start.clone().requires_grad_(), 2.0
    optimizer = torch.optim.Adam([student], lr=0.1)
    for _ in range(800):
        loss = advantage_loss(student, after, before) + c * divergence(student, start, "reverse")
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    a = after.log_softmax(-1) - before.log_softmax(-1)
    torch.testing.assert_close(
        student.softmax(-1), (start.log_softmax(-1) + a / c).softmax(-1), atol=1e-4, rtol=1e-3
    )
