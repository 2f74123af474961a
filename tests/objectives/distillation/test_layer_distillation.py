"""Distiller's losses: loops in double precision, gradients, extremes, invariances; plans against brute force; bounds against truth."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.objectives.distillation.layer_map import layer_pairs, transport_plan
from counterpoint.objectives.distillation.layer_states import STATES, prediction_loss, state_loss
from counterpoint.objectives.distillation.mutual_information import (
    infonce_bound,
    interpolated_bound,
    leave_one_out,
)


def drawn(*shapes: tuple[int, ...], seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=g, dtype=torch.double) for shape in shapes]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("n", [2, 5])
def test_the_bound_equals_its_sums(alpha: float, n: int) -> None:
    scores, baseline = drawn((n, n), (n,), seed=n)
    found = interpolated_bound(scores, baseline, alpha)
    total = 0.0
    for i in range(n):
        D = []
        for j in range(n):
            mean = sum(math.exp(scores[i, k]) for k in range(n) if k != j) / (n - 1)
            D.append(math.log(alpha * mean + (1 - alpha) * math.exp(baseline[i])))
        row = 1.0
        for j in range(n):
            if j != i:
                row += (float(scores[i, i]) - D[j]) / (n - 1) - math.exp(scores[i, j] - D[i]) / (n - 1)
        assert float(found[i]) == pytest.approx(row, rel=1e-9)
        total += row
    assert torch.autograd.gradcheck(
        lambda s, b: interpolated_bound(s, b, alpha), (scores.requires_grad_(), baseline.requires_grad_())
    )


def test_rows_of_two_processes_are_those_of_one_and_order_changes_nothing() -> None:
    scores, baseline = drawn((6, 6), (6,))
    whole = interpolated_bound(scores, baseline, 0.5)
    parts = [
        interpolated_bound(scores[:4], baseline[:4], 0.5),
        interpolated_bound(scores[4:], baseline[4:], 0.5, 4),
    ]
    torch.testing.assert_close(torch.cat(parts), whole)
    order = torch.tensor([2, 0, 5, 1, 4, 3])
    torch.testing.assert_close(
        interpolated_bound(scores[order][:, order], baseline[order], 0.5), whole[order]
    )


def test_a_score_that_dominates_its_row_harms_no_other() -> None:
    scores = torch.tensor(
        [[1e4, 0.0, 1.0], [0.0, 1e4, 2.0], [1.0, 0.0, 1e4]], dtype=torch.double, requires_grad=True
    )
    out = leave_one_out(scores.detach())
    assert float(out[0, 0]) == pytest.approx(math.log(1 + math.e))
    bound = interpolated_bound(scores, torch.zeros(3, dtype=torch.double), 0.5)
    bound.sum().backward()
    assert torch.isfinite(bound).all()
    assert torch.isfinite(scores.grad).all()
    with pytest.raises(CounterpointError, match="at least two pairs"):
        interpolated_bound(torch.zeros(1, 1), torch.zeros(1), 0.5)
    with pytest.raises(CounterpointError, match="alpha"):
        interpolated_bound(torch.zeros(2, 2), torch.zeros(2), 1.5)


def test_alpha_trades_the_ceiling_of_log_n_for_variance() -> None:
    """With the true critic of correlated Gaussians, alpha = 1 stays below log n however much there is to know; a small alpha does not."""
    dims, n, rho = 20, 64, 0.95
    truth = -0.5 * dims * math.log(1 - rho**2)  # 23 nats
    g = torch.Generator().manual_seed(0)
    figures = {}
    for alpha in (1.0, 0.01):
        values = []
        for _ in range(40):
            x = torch.randn(n, dims, generator=g, dtype=torch.double)
            y = rho * x + math.sqrt(1 - rho**2) * torch.randn(n, dims, generator=g, dtype=torch.double)
            # log p(y | x) - log p(y), whose log-partition is 0, so that the baseline is, too
            conditional = -((y[None] - rho * x[:, None]) ** 2).sum(2) / (2 * (1 - rho**2))
            scores = conditional - 0.5 * dims * math.log(1 - rho**2) + 0.5 * (y**2).sum(1)[None]
            values.append(float(interpolated_bound(scores, torch.zeros(n, dtype=torch.double), alpha).mean()))
        figures[alpha] = torch.tensor(values)
    assert float(figures[1.0].max()) < math.log(n) + 1
    assert float(figures[0.01].mean()) > float(figures[1.0].mean()) + 2
    assert float(figures[0.01].mean()) < truth + 1
    assert float(figures[0.01].std()) > float(figures[1.0].std())
    assert float(infonce_bound(scores).mean()) <= math.log(n) + 1e-9


@pytest.mark.parametrize("kind", STATES)
def test_state_losses_equal_a_loop_over_valid_tokens(kind: str) -> None:
    student, teacher = drawn((3, 4, 5), (3, 4, 5))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    total, count = 0.0, 0
    for b in range(3):
        for t in range(4):
            if not mask[b, t] or (kind == "pkd" and t):
                continue
            s, u = student[b, t], teacher[b, t]
            count += 1
            if kind == "mse":
                total += sum(float(s[d] - u[d]) ** 2 for d in range(5)) / 5
            elif kind == "cosine":
                total += 1 - float(s @ u / (s.norm() * u.norm()))
            elif kind == "ce":
                total -= float((u.exp() / u.exp().sum()) @ (s - s.exp().sum().log()))
            else:
                total += float(((s / s.norm() - u / u.norm()) ** 2).sum())
    loss = state_loss(student, teacher, mask, kind)
    assert float(loss.mean()) == pytest.approx(total / count, rel=1e-9)
    # Padding changes nothing, the teacher has no gradient, texts may come in pieces and in any order.
    student.requires_grad_(), teacher.requires_grad_()
    torch.where(mask[..., None].bool(), student, torch.inf if kind == "mse" else 7.0)
    state_loss(student, teacher, mask, kind).mean().backward()
    assert teacher.grad is None
    assert not student.grad[1, 2:].any()
    parts = [
        state_loss(student[i : i + 1], teacher[i : i + 1], mask[i : i + 1], kind).values for i in (2, 0, 1)
    ]
    torch.testing.assert_close(torch.cat(parts), loss.values[[2, 0, 1]])


def test_gradients_by_finite_differences() -> None:
    student, teacher = drawn((2, 3, 4), (2, 3, 4))
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    for kind in STATES:
        assert torch.autograd.gradcheck(
            lambda s, k=kind: state_loss(s, teacher, mask, k).mean(), student.requires_grad_()
        )
    logits, others = drawn((3, 4), (3, 4))
    for kind in ("ce", "mse"):
        assert torch.autograd.gradcheck(
            lambda z, k=kind: prediction_loss(z, others, k, 2.0), logits.requires_grad_()
        )


def test_extremes_and_wrong_kinds() -> None:
    assert prediction_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])).tolist() == [2e4]
    nothing = state_loss(torch.ones(2, 2, 3), torch.zeros(2, 2, 3), torch.zeros(2, 2), "mse")
    assert float(nothing.mean()) == 0
    with pytest.raises(CounterpointError, match="did you mean 'cosine'"):
        state_loss(torch.ones(1, 1, 1), torch.ones(1, 1, 1), torch.ones(1, 1), "cosin")
    with pytest.raises(CounterpointError, match="project"):
        state_loss(torch.ones(1, 1, 1), torch.ones(1, 1, 2), torch.ones(1, 1), "mse")
    with pytest.raises(CounterpointError, match="ce"):
        prediction_loss(torch.ones(1, 2), torch.ones(1, 2), "kl")


def test_a_plan_is_the_best_of_all_and_constant() -> None:
    (cost,) = drawn((3, 3), seed=4)
    best = min(sum(float(cost[i, p[i]]) for i in range(3)) / 3 for p in itertools.permutations(range(3)))
    plan = transport_plan(cost.requires_grad_())
    assert float((plan * cost).sum()) == pytest.approx(best, rel=1e-9)
    assert not plan.requires_grad
    torch.testing.assert_close(transport_plan(cost[:2]).sum(0), torch.full((3,), 1 / 3, dtype=torch.double))
    with pytest.raises(CounterpointError, match="not finite"):
        transport_plan(torch.full((2, 2), torch.nan))


def test_maps_refuse_what_they_cannot_map() -> None:
    with pytest.raises(CounterpointError, match="no more than the teacher's"):
        layer_pairs("skip", 7, 6)
    with pytest.raises(CounterpointError, match="did you mean 'skip'"):
        layer_pairs("skp", 2, 6)
