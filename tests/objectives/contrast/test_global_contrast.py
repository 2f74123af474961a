"""Global contrast with temperatures: naive float64 loops, gradients of the true objective, shards, order, extremes."""

import math

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import kernel_path
from counterpoint.objectives.contrast.global_contrast import (
    best_temperature,
    descend,
    robust_pairs,
    robust_views,
)
from counterpoint.objectives.in_batch import unit

GAMMA, RHO = 0.7, 0.4


def batch(n: int = 5, width: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    views = torch.randn(2, n, width, dtype=torch.float64, generator=draw)
    tau = 0.1 + torch.rand(n, dtype=torch.float64, generator=draw)
    log_s = torch.randn(n, dtype=torch.float64, generator=draw)
    return views[0], views[1], tau, log_s


def objective(first: Tensor, second: Tensor, tau: Tensor) -> Tensor:
    """F of one batch seen for the first time, by loops: mean_i sum_k tau_i log E e^{h/tau_i} + tau_i rho (per side)."""
    u = [[row / row.norm() for row in view] for view in (first, second)]
    total = torch.zeros((), dtype=first.dtype)
    for i in range(len(first)):
        positive = u[0][i] @ u[1][i]
        for k in (0, 1):
            terms = [
                torch.exp((u[k][i] @ u[m][j] - positive) / tau[i])
                for m in (0, 1)
                for j in range(len(first))
                if j != i
            ]
            total = total + tau[i] * torch.log(sum(terms) / len(terms)) + tau[i] * RHO
    return total / len(first)


@pytest.mark.parametrize("path", ["plain", "stream"])
def test_on_the_first_visit_both_gradients_are_those_of_the_objective(path: str) -> None:
    first, second, tau, _ = batch()
    never = torch.full_like(tau, -math.inf)
    leaves = [x.clone().requires_grad_() for x in (first, second, tau)]
    expected = torch.autograd.grad(objective(*leaves), leaves)
    a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
    with kernel_path(path, budget_bytes=1024):
        seen = robust_views(a, b, tau, never, gamma=GAMMA, rho=RHO, fresh=True)
        seen.values.mean().backward()
    torch.testing.assert_close(a.grad, expected[0])
    torch.testing.assert_close(b.grad, expected[1])
    # Both sides are summed in the objective and averaged for the temperatures.
    torch.testing.assert_close(2 * seen.temperature_gradient / len(tau), expected[2])


def test_a_stored_average_weighs_the_terms() -> None:
    """By loops: weights e^{s/tau} / s_new are constants, s_new blends the stored average with this batch's."""
    first, second, tau, log_s = batch()
    a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
    u = torch.stack((unit(a), unit(b)))
    total, stored, slopes = 0.0, [], []
    for i in range(len(tau)):
        new_values, slope = [], 0.0
        for k in (0, 1):
            s = torch.stack([u[k, i] @ u[m, j] for m in (0, 1) for j in range(len(tau)) if j != i])
            e = (s.detach() / tau[i]).exp()
            new = (1 - GAMMA) * log_s[i].exp() + GAMMA * e.mean()
            total = total + (e / new * s).mean() - u[0, i] @ u[1, i]
            slope = slope + (new.log() + RHO - (e / new * s.detach() / tau[i]).mean()) / 2
            new_values.append(new)
        stored.append(((new_values[0] + new_values[1]) / 2).log())
        slopes.append(slope)
    expected = torch.autograd.grad(total / len(tau), (a, b))
    seen = robust_views(a, b, tau, log_s, gamma=GAMMA, rho=RHO)
    found = torch.autograd.grad(seen.values.mean(), (a, b))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(seen.values.mean(), (total / len(tau)))
    torch.testing.assert_close(seen.log_average, torch.stack(stored))
    torch.testing.assert_close(seen.temperature_gradient, torch.stack(slopes))


@pytest.mark.parametrize("two_modalities", [False, True])
def test_shards_equal_the_whole(two_modalities: bool) -> None:
    first, second, tau, log_s = batch(5)
    run = robust_pairs if two_modalities else robust_views
    whole_in = [x.clone().requires_grad_() for x in (first, second)]
    whole = run(*whole_in, tau, log_s, gamma=GAMMA)
    whole.values.mean().backward()
    parts_in = [x.clone().requires_grad_() for x in (first, second)]
    total, found = 0.0, []
    for start, end in ((0, 3), (3, 5)):
        rows = slice(start, end)
        everyone = parts_in[1] if two_modalities else (parts_in[0], parts_in[1])
        part = run(
            parts_in[0][rows], parts_in[1][rows], tau[rows], log_s[rows], gamma=GAMMA, candidates=everyone, offset=start
        )  # fmt: skip
        total = total + part.values.sum() / 5
        found.append(part)
    total.backward()
    for name in ("values", "log_average", "temperature_gradient"):
        torch.testing.assert_close(torch.cat([getattr(p, name) for p in found]), getattr(whole, name))
    for mine, theirs in zip(parts_in, whole_in, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_order_does_not_matter() -> None:
    first, second, tau, log_s = batch()
    order = torch.tensor([3, 0, 4, 1, 2])
    one = robust_views(first, second, tau, log_s)
    other = robust_views(first[order], second[order], tau[order], log_s[order])
    torch.testing.assert_close(other.values, one.values[order])
    torch.testing.assert_close(other.temperature_gradient, one.temperature_gradient[order])


def test_small_temperatures_do_not_overflow_float32() -> None:
    first, second, _, _ = batch()
    tau = torch.full((5,), 0.002)
    a = first.float().requires_grad_()
    seen = robust_views(a, second.float(), tau, torch.full((5,), 400.0))
    seen.values.mean().backward()
    for found in (seen.values, seen.log_average, seen.temperature_gradient, a.grad):
        assert torch.isfinite(found).all()


def test_two_instances_and_one() -> None:
    first, second, tau, log_s = batch(2)
    assert torch.isfinite(robust_views(first, second, tau, log_s).values).all()
    with pytest.raises(CounterpointError, match="at least 2 instances"):
        robust_views(first[:1], second[:1], tau[:1], log_s[:1])
    with pytest.raises(CounterpointError, match="expected one each"):
        robust_views(first, second, tau[:1], log_s)


def test_temperatures_stay_in_bounds_and_find_the_dual_optimum() -> None:
    h = torch.randn(4, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5
    best, value, p = best_temperature(h, 0.3, 0.05)
    tau, momentum = torch.full_like(best, 0.5), torch.zeros_like(best)
    for _ in range(4000):
        q = torch.softmax(h / tau[:, None], 1)
        slope = (h / tau[:, None]).logsumexp(1) - math.log(30) + 0.3 - (q * h).sum(1) / tau
        tau, momentum = descend(tau, momentum, slope, step=0.01, low=0.05, high=5.0)
        assert (tau >= 0.05).all()
    torch.testing.assert_close(tau, best, rtol=1e-3, atol=1e-4)
    divergence = (p * (p * 30).log()).sum(1)
    torch.testing.assert_close(divergence[best > 0.0501], torch.full_like(divergence[best > 0.0501], 0.3))
    torch.testing.assert_close(value, (p * h).sum(1) - 0.05 * divergence)
