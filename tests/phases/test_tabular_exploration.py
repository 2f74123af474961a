"""The tabular algorithm: its fit by autograd of the whole loss, and what optimism does where answers share features."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference.optimism import expected_optimism, optimism
from counterpoint.phases.tabular_exploration import TabularExploration

FEATURES, ANSWERS, PROMPTS = 8, 40, 60


def world(seed: int) -> tuple[Tensor, Tensor]:
    """The true reward's weights, and a reference whose own are against them."""
    truth = torch.randn(FEATURES, generator=torch.Generator().manual_seed(seed))
    return truth, -0.5 * truth


def prompts_of(truth: Tensor):
    def prompts(_: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        features = torch.randn(PROMPTS, ANSWERS, FEATURES, generator=draw)
        return features, features @ truth

    return prompts


def test_one_fit_is_autograds_of_the_sums_written_out() -> None:
    truth, start = world(0)
    features, rewards = prompts_of(truth)(0, torch.Generator().manual_seed(1))
    given = TabularExploration(alpha=0.3, beta=0.2, rounds=1, steps=2, rate=0.5)
    chosen, rejected = rewards.argmax(-1), rewards.argmin(-1)
    theta = start.clone()
    for _ in range(2):
        theta = theta.detach().requires_grad_()
        total = torch.zeros(())
        for p in range(PROMPTS):
            logp = torch.log_softmax(features[p] @ theta, -1)
            fixed = torch.log_softmax(features[p] @ start, -1)
            w, l = int(chosen[p]), int(rejected[p])
            margin = (logp[w] - fixed[w]) - (logp[l] - fixed[l])
            total = total + torch.nn.functional.softplus(-0.2 * margin)
            total = total + 0.3 * sum(fixed[y].exp() * logp[y] for y in range(ANSWERS))
        (grad,) = torch.autograd.grad(total / PROMPTS, [theta])
        theta = theta - 0.5 * grad
    fitted = given._fitted(start, start, [(features, chosen, rejected)])
    torch.testing.assert_close(fitted, theta.detach(), rtol=1e-4, atol=1e-5)


def test_optimism_earns_more_in_the_first_rounds() -> None:
    """As measured by others on such a policy; paired over worlds."""
    gains = []
    for seed in range(8):
        truth, start = world(seed)
        first = [
            TabularExploration(alpha=alpha, rounds=2, steps=40, rate=5.0).run(start, prompts_of(truth), seed)[
                1
            ][0]
            for alpha in (0.0, 0.04)
        ]
        gains.append(first[1] - first[0])
    assert statistics.mean(gains) > 0.05
    assert sum(gain > 0 for gain in gains) >= 6


def test_alpha_0_is_deterministic_and_learns() -> None:
    truth, start = world(3)
    given = TabularExploration(rounds=3, noiseless=True)
    one, other = given.run(start, prompts_of(truth), 5), given.run(start, prompts_of(truth), 5)
    assert torch.equal(one[0], other[0])
    assert one[1][-1] > one[1][0]
    with pytest.raises(CounterpointError, match="expected alpha from 0 on"):
        TabularExploration(alpha=-1.0).run(start, prompts_of(truth))


def test_optimism_by_its_definition() -> None:
    g = torch.Generator().manual_seed(0)
    logp = torch.randn(6, generator=g, dtype=torch.float64).log_softmax(-1).requires_grad_()
    reference = torch.randn(6, generator=g, dtype=torch.float64).log_softmax(-1).requires_grad_()
    values = optimism(logp, reference, 0.3, 0.2)
    for value, a, b in zip(values.tolist(), logp.tolist(), reference.tolist()):
        assert value == pytest.approx(0.06 * (a - b))
    total = expected_optimism(logp, reference, 0.3, 0.2)
    expected = sum(math.exp(b) * a for a, b in zip(logp.tolist(), reference.tolist()))
    assert total.item() == pytest.approx(0.06 * expected)
    grads = torch.autograd.grad(total + values.sum(), [logp, reference], allow_unused=True)
    assert grads[1] is None
    torch.testing.assert_close(grads[0], 0.06 * (1 + reference.exp().detach()))
    far = optimism(torch.tensor([-1e4]), torch.tensor([0.0]), 1.0, 1.0)
    assert float(far) == -1e4
    assert torch.autograd.gradcheck(
        lambda x: expected_optimism(x, reference, 0.3), logp.detach().requires_grad_()
    )
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(expected_optimism(logp[order], reference[order], 0.3, 0.2), total)
