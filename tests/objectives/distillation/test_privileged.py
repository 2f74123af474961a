"""pi-Distill and OPSD: loops, gradients, who gets none, extremes, invariances."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import kernel_path
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.objectives.distillation.privileged import (
    joint,
    shaped_rewards,
    surrogate,
    teacher_to_student,
    towards_teacher,
)
from counterpoint.objectives.reduction import Loss, total
from counterpoint.objectives.tokens import aggregate

MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]])
ADVANTAGE = torch.tensor([1.5, -2.0, 3.0, -0.5], dtype=torch.float64)


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loop(logp, against, advantage, mask, low, high, dual, how):
    """Token by token, in plain numbers."""
    sums, counts = [], []
    for row in range(len(mask)):
        found = []
        for t in range(mask.shape[1]):
            if mask[row, t]:
                ratio, a = float((logp[row, t] - against[row, t]).detach().exp()), float(advantage[row])
                loss = -min(ratio * a, min(max(ratio, 1 - low), 1 + high) * a)
                found.append(min(loss, -dual * a) if dual and a < 0 else loss)
        sums.append(sum(found))
        counts.append(len(found))
    if how == "token_mean":
        return sum(sums) / sum(counts)
    if how == "constant":
        return sum(sums) / len(sums) / mask.shape[1]
    rows = [s / c if how == "sequence_mean" else s for s, c in zip(sums, counts) if c]
    return sum(rows) / len(rows)


@pytest.mark.parametrize("how", ["token_mean", "sequence_mean", "sequence_sum", "constant"])
@pytest.mark.parametrize("dual", [None, 1.5])
def test_the_surrogate_is_the_loop_and_its_gradient(how: str, dual: float | None) -> None:
    logp, old = draw(4, 3).requires_grad_(), draw(4, 3, seed=1)

    def mean(x: torch.Tensor) -> torch.Tensor:
        return surrogate(
            x, old, ADVANTAGE, MASK, low=0.2, high=0.3, dual_clip=dual, aggregation=how, max_length=3
        ).mean()

    expected = loop(logp, old, ADVANTAGE, MASK, 0.2, 0.3, dual, how)
    assert float(mean(logp)) == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(mean, (logp,))


def test_the_teacher_is_a_constant_of_the_students_ratio() -> None:
    student, teacher = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    surrogate(student, teacher, ADVANTAGE, MASK).mean().backward()
    assert teacher.grad is None
    for row, t in MASK.nonzero().tolist():
        step = torch.zeros(4, 3, dtype=torch.float64)
        step[row, t] = 1e-6
        above, below = (
            loop(student.detach() + sign * step, teacher, ADVANTAGE, MASK, 0.2, 0.2, None, "token_mean")
            for sign in (1, -1)
        )
        assert student.grad[row, t].item() == pytest.approx((above - below) / 2e-6, abs=1e-8)
    assert (student.grad != 0).any()
    assert (student.grad[MASK == 0] == 0).all()


def test_a_token_that_the_student_finds_impossible_teaches_little_and_one_that_it_overrates_nothing_more() -> (
    None
):
    """With A > 0 the ratio itself is the weight; above the clip there is none."""
    student = torch.tensor([[-9.0, -1.0, -0.1]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[-1.0, -1.0, -1.0]], dtype=torch.float64)
    surrogate(
        student,
        teacher,
        torch.ones(1, dtype=torch.float64),
        torch.ones(1, 3),
        aggregation="sequence_sum",
    ).mean().backward()
    torch.testing.assert_close(
        -student.grad[0], torch.tensor([math.exp(-8.0), 1.0, 0.0], dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_shaped_rewards_are_the_loop_and_constants() -> None:
    z_t, z_s = draw(4, 3, 5).requires_grad_(), draw(4, 3, 5, seed=1).requires_grad_()
    kl = teacher_to_student(z_t, z_s, MASK)
    assert not kl.requires_grad
    p, q = z_t.softmax(-1), z_s.softmax(-1)
    rewards = torch.tensor([1.0, 0.0, math.nan, 2.0], dtype=torch.float64)
    for how in ("sum", "mean"):
        found = shaped_rewards(rewards, kl, MASK, 0.25, how)
        for row in (0, 1, 3):
            each = [
                sum(float(p[row, t, v] * (p[row, t, v] / q[row, t, v]).log()) for v in range(5))
                for t in range(3)
                if MASK[row, t]
            ]
            value = sum(each) / (len(each) if how == "mean" else 1)
            assert float(found[row]) == pytest.approx(float(rewards[row]) - 0.25 * value, rel=1e-12)
        assert found[2].isnan()


@pytest.mark.parametrize("path", ["plain", "stream"])
@pytest.mark.parametrize("c", [1.0, 0.5, 0.0])
def test_the_pull_to_the_teacher_is_the_loop_and_its_gradient(c: float, path: str) -> None:
    z, t = draw(4, 3, 5).requires_grad_(), draw(4, 3, 5, seed=1)

    def pull(x: torch.Tensor) -> torch.Tensor:
        with kernel_path(path, budget_bytes=2**10):
            return towards_teacher(x, t, MASK, entropy_coefficient=c, temperature=0.7)

    p, q = (z / 0.7).softmax(-1), (t / 0.7).softmax(-1)
    found = pull(z)
    for row in range(4):
        for at in range(3):
            crossed = -sum(float(p[row, at, v] * q[row, at, v].log()) for v in range(5))
            spread = -sum(float(p[row, at, v] * p[row, at, v].log()) for v in range(5))
            expected = crossed - c * spread if MASK[row, at] else 0.0
            assert float(found[row, at]) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert torch.autograd.gradcheck(pull, (z,))


def test_the_reverse_kl_has_a_gradient_in_expectation_and_the_log_ratio_has_none() -> None:
    """What the authors' program uses as a loss, mean(log pi^T - log pi^S) on the student's samples, pushes nowhere."""
    z, t = draw(1, 1, 6).requires_grad_(), draw(1, 1, 6, seed=1)
    whole = torch.autograd.grad(towards_teacher(z, t, torch.ones(1, 1)).sum(), z)[0]
    p = z.detach().softmax(-1)[0, 0]
    sampled = torch.zeros_like(z)
    for v in range(6):
        logp = log_probs(z, torch.tensor([[v]]))
        ratio = log_probs(t, torch.tensor([[v]])) - logp
        sampled += p[v] * torch.autograd.grad(ratio.sum(), z)[0]
    assert sampled.abs().max() < 1e-12
    assert whole.abs().max() > 1e-2


def test_equal_views_have_no_pull_and_logits_of_ten_thousand_stay_finite() -> None:
    z = draw(2, 2, 4).requires_grad_()
    grad = torch.autograd.grad(towards_teacher(z, z.detach(), torch.ones(2, 2)).sum(), z)[0]
    assert grad.abs().max() < 1e-12
    far = torch.tensor([[[1e4, 0.0, -1e4]]], requires_grad=True)
    other = torch.tensor([[[-1e4, 0.0, 1e4]]])
    value = towards_teacher(far, other, torch.ones(1, 1), entropy_coefficient=0.5)
    value.sum().backward()
    assert value.tolist() == [[2e4]]
    assert not far.grad.any(), "a student that is sure of one token has no slope"
    loss = surrogate(
        torch.tensor([[0.0, -1e4]]), torch.tensor([[-1e4, 0.0]]), torch.tensor([-1.0]), torch.ones(1, 2)
    )
    assert loss.values.tolist() == pytest.approx([math.exp(20) + 0.8]), (
        "the drift ends at 20, the clip at 0.8"
    )


def test_padding_may_hold_anything_and_everything_masked_is_zero() -> None:
    logp = draw(4, 3)
    dirty = torch.where(MASK.bool(), logp, torch.nan).requires_grad_()
    loss = surrogate(dirty, logp * 0, ADVANTAGE, MASK).mean()
    loss.backward()
    assert loss.isfinite()
    assert dirty.grad.isfinite().all()
    none = surrogate(logp.clone().requires_grad_(), logp, ADVANTAGE, torch.zeros_like(MASK))
    assert float(none.mean()) == 0.0


@pytest.mark.parametrize("how", ["token_mean", "sequence_mean", "sequence_sum", "constant"])
def test_order_and_parts_change_nothing(how: str) -> None:
    logp, old = draw(4, 3), draw(4, 3, seed=1)

    def loss(rows: torch.Tensor) -> Loss:
        return surrogate(logp[rows], old[rows], ADVANTAGE[rows], MASK[rows], aggregation=how, max_length=3)

    whole, turned = loss(torch.arange(4)), loss(torch.tensor([3, 1, 0, 2]))
    torch.testing.assert_close(whole.mean(), turned.mean(), rtol=1e-12, atol=0)
    parts = [loss(torch.tensor(rows)) for rows in ([0, 1], [2, 3])]
    counts = [torch.ones_like(p.values) if p.counts is None else p.counts for p in parts]
    joined = Loss(torch.cat([p.values for p in parts]), torch.cat(counts).to(torch.float64))
    torch.testing.assert_close(whole.mean(), joined.mean(), rtol=1e-12, atol=0)


def test_alpha_weighs_the_two_views() -> None:
    teacher, student = Loss(torch.tensor([2.0])), Loss(torch.tensor([6.0]))
    assert float(total(joint(teacher, student, 0.25))) == 5.0
    assert float(total(joint(teacher, None, 1.0))) == 2.0
    with pytest.raises(CounterpointError, match="alpha=1.5; expected 0"):
        joint(teacher, student, 1.5)
    with pytest.raises(CounterpointError, match="gives the student's loss weight 0.5"):
        joint(teacher, None, 0.5)


def test_what_cannot_be_is_refused() -> None:
    x = torch.zeros(1, 1)
    with pytest.raises(CounterpointError, match="expected 'sum' or 'mean'"):
        shaped_rewards(torch.zeros(1), x, x, 0.1, "median")
    with pytest.raises(CounterpointError, match="dual_clip=1.1 lies within"):
        surrogate(x, x, torch.ones(1), torch.ones(1, 1), dual_clip=1.1)
    with pytest.raises(CounterpointError, match="divides by a fixed length"):
        surrogate(x, x, torch.ones(1), torch.ones(1, 1), aggregation="constant")


def test_a_kl_that_the_whole_group_shares_cancels_in_the_advantage() -> None:
    """It matters because it is evaluated along each completion's own prefixes."""
    from counterpoint.objectives.preference.advantage import group_relative

    rewards, kl = draw(4), torch.full((4, 3), 0.3, dtype=torch.float64)
    shaped = shaped_rewards(rewards, kl, torch.ones(4, 3), 0.25)
    torch.testing.assert_close(
        group_relative(shaped, 4, "none"), group_relative(rewards, 4, "none"), rtol=1e-9, atol=1e-12
    )
    assert float(aggregate(kl, MASK).mean()) == pytest.approx(0.3)
