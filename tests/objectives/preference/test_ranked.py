"""Ranked completions and the steps of both KLs: against loops in float64, against autograd, at extremes, and what must not matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference.mass import forward_kl_step, reverse_kl_step
from counterpoint.objectives.preference.ranked import (
    best_of_n,
    ranked_pairs,
    reward_weighted,
    token_paired,
)
from counterpoint.objectives.preference.unified import Negative, Policy, check_unified, group_losses
from counterpoint.phases.reward_baseline import RunningScore

NAN = math.nan
REWARDS = torch.tensor(
    [[0.3, 0.9, NAN, 0.1], [0.5, 0.5, 0.2, 0.5], [NAN, NAN, NAN, NAN], [NAN, 0.4, NAN, NAN]]
)


def log_probs(seed: int = 0, rows: int = 4, columns: int = 4) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return -3.0 * torch.rand(rows, columns, generator=g, dtype=torch.float64) - 0.05


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.6])
def test_pairs_by_a_loop(threshold: float) -> None:
    expected = [
        (p, w, l)
        for p, row in enumerate(REWARDS.tolist())
        for w in range(4)
        for l in range(4)
        if row[w] > row[l] and row[w] - row[l] >= threshold
    ]
    assert list(zip(*(each.tolist() for each in ranked_pairs(REWARDS, threshold)))) == expected


@pytest.mark.parametrize("lowered", ["none", "worst", "average", "sum"])
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
def test_best_of_n_by_a_loop_and_by_finite_differences(
    lowered: str, constrained: bool, bounded: bool
) -> None:
    logp, fixed = log_probs(0), log_probs(1) if constrained else None

    def whole(x: Tensor) -> Tensor:
        return best_of_n(x, REWARDS, lowered, 0.7, reference_PN=fixed, bounded=bounded).values  # type: ignore[arg-type]

    values = whole(logp)
    for p, row in enumerate(REWARDS.tolist()):
        known = [n for n in range(4) if not math.isnan(row[n])]
        if not known:
            assert values[p] == 0.0
            continue
        value = [float(logp[p, n] - (0.0 if fixed is None else fixed[p, n])) for n in range(4)]
        best = max(known, key=lambda n: (row[n], -n))
        others = [n for n in known if n != best]
        push = {n: -math.log(1 - math.exp(logp[p, n])) if bounded else value[n] for n in others}
        worst = min(others, key=lambda n: (row[n], n)) if others else None
        pushed = {
            "none": 0.0,
            "worst": push.get(worst, 0.0),
            "sum": sum(push.values()),
            "average": sum(push.values()) / max(len(push), 1),
        }[lowered]
        assert values[p].item() == pytest.approx(-value[best] + 0.7 * pushed)
    assert torch.autograd.gradcheck(whole, logp.clone().requires_grad_())
    counted = best_of_n(logp, REWARDS, lowered)  # type: ignore[arg-type]
    assert counted.counts is not None
    assert counted.counts.tolist() == [1.0, 1.0, 0.0, 1.0]


def test_reward_weights_by_a_loop_and_by_finite_differences() -> None:
    logp, rewards = log_probs().flatten(), REWARDS.flatten()

    def whole(x: Tensor) -> Tensor:
        return reward_weighted(x, rewards, 0.5, cap=2.0).values

    expected = [
        0.0 if math.isnan(r) else -min(math.exp(r / 0.5), 2.0) * lp
        for r, lp in zip(rewards.tolist(), logp.tolist())
    ]
    torch.testing.assert_close(whole(logp), torch.tensor(expected, dtype=torch.float64))
    assert torch.autograd.gradcheck(whole, logp.clone().requires_grad_())


@pytest.mark.parametrize("kind", ["dpo", "ipo"])
def test_token_pairs_by_a_loop_and_by_finite_differences(kind: str) -> None:
    chosen, rejected = log_probs(2, 3, 5), log_probs(3, 3, 5)
    mask = torch.arange(5) < torch.tensor([5, 2, 0])[:, None]
    loss = token_paired(chosen, rejected, mask, 0.4, kind)  # type: ignore[arg-type]
    for k in range(3):
        total = 0.0
        for t in range([5, 2, 0][k]):
            score = 0.4 * float(chosen[k, t] - rejected[k, t])
            total += math.log1p(math.exp(-score)) if kind == "dpo" else (score - 1.25) ** 2
        assert loss.values[k].item() == pytest.approx(total)
    assert loss.counts is not None
    assert loss.counts.tolist() == [5.0, 2.0, 0.0]
    assert torch.autograd.gradcheck(
        lambda x: token_paired(x, rejected, mask, 0.4, kind).values,  # type: ignore[arg-type]
        chosen.requires_grad_(),
    )


def test_order_and_parts_do_not_matter() -> None:
    logp, rewards = log_probs(4), torch.rand(4, 4, generator=torch.Generator().manual_seed(5)).double()
    order, columns = torch.tensor([2, 0, 3, 1]), torch.tensor([3, 1, 0, 2])
    for lowered in ("none", "worst", "average", "sum"):
        values = best_of_n(logp, rewards, lowered).values  # type: ignore[arg-type]
        moved = best_of_n(logp[order][:, columns], rewards[order][:, columns], lowered).values  # type: ignore[arg-type]
        torch.testing.assert_close(moved, values[order])
        parts = [best_of_n(logp[p : p + 1], rewards[p : p + 1], lowered).values for p in range(4)]  # type: ignore[arg-type]
        torch.testing.assert_close(torch.cat(parts), values)


def test_extremes_stay_finite() -> None:
    logp = torch.tensor([[-1e4, 0.0, -1e-9]], requires_grad=True)
    rewards = torch.tensor([[1.0, 0.0, 0.5]])
    for bounded in (False, True):
        best_of_n(logp, rewards, "sum", bounded=bounded).mean().backward()
        assert logp.grad is not None
        assert logp.grad.isfinite().all()
    assert not best_of_n(logp[:0], rewards[:0]).values.numel()
    assert [len(each) for each in ranked_pairs(rewards[:, :1])] == [0, 0, 0]
    far = token_paired(torch.full((1, 2), 1e4), torch.full((1, 2), -1e4), torch.ones(1, 2), 10.0)
    assert far.values.tolist() == [0.0]
    wrong = token_paired(torch.full((1, 2), -1e4), torch.full((1, 2), 1e4), torch.ones(1, 2), 10.0)
    assert wrong.values.tolist() == [4e5]
    with pytest.raises(CounterpointError, match="lowered='best'"):
        best_of_n(logp, rewards, "best")  # type: ignore[arg-type]
    with pytest.raises(CounterpointError, match="kind='simpo'"):
        token_paired(logp, logp, torch.ones(1, 3), kind="simpo")  # type: ignore[arg-type]


@pytest.mark.parametrize(("step", "reverse"), [(forward_kl_step, False), (reverse_kl_step, True)])
def test_a_step_is_autograds(step: object, reverse: bool) -> None:
    g = torch.Generator().manual_seed(6)
    logits = torch.randn(3, 7, generator=g, dtype=torch.float64).requires_grad_()
    target = torch.randn(3, 7, generator=g, dtype=torch.float64).softmax(-1)
    p = logits.softmax(-1)
    from_to = (p, target) if reverse else (target, p)
    divergence = (from_to[0] * (from_to[0].log() - from_to[1].log())).sum()
    (grad,) = torch.autograd.grad(divergence, [logits])
    torch.testing.assert_close(step(p.detach(), target, 0.3), (logits - 0.3 * grad).softmax(-1).detach())  # type: ignore[operator]


def test_where_mass_goes() -> None:
    """Maximum likelihood lifts a bin without mass at once; the reverse KL moves mass between bins that have some, and faster."""
    p, q = torch.tensor([0.49, 0.49, 0.02]), torch.tensor([0.02, 0.49, 0.49])
    forward, reverse = p, p
    for _ in range(5):
        forward, reverse = forward_kl_step(forward, q), reverse_kl_step(reverse, q)
    assert forward[2] > reverse[2]
    assert reverse[1] > forward[1]
    assert reverse_kl_step(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])).tolist() == [1.0, 0.0]


def test_running_scores_by_a_loop_over_batches() -> None:
    rewards = [0.2, NAN, 0.9, 0.9, 0.1, 0.4]
    score, seen, found = RunningScore(), [], []
    for part in (rewards[:4], rewards[4:], []):
        found += score.advantages(torch.tensor(part, dtype=torch.float64)).tolist()
    for reward, value in zip(rewards, found):
        if math.isnan(reward):
            assert value == 0.0
            continue
        seen.append(reward)
        mean = sum(seen) / len(seen)
        deviation = math.sqrt(max(sum(r * r for r in seen) / len(seen) - mean**2, 0.0))
        assert value == pytest.approx((reward - mean) / (deviation + 1e-12))
    assert RunningScore().advantages(torch.full((5,), 0.1)).abs().max() < 1e-3


class Settings:
    """A loss's settings, as the method has them."""

    def __init__(self, loss: str, **given: object) -> None:
        self.loss, self.threshold, self.beta, self.weight_cap = loss, 0.0, None, None
        self.level, self.negative, self.policy = "sequence", Negative(), Policy()
        vars(self).update(given)


def test_a_loss_of_the_initial_model_needs_it() -> None:
    with pytest.raises(CounterpointError, match="give reference_BT"):
        group_losses(Settings("dpo"), torch.zeros(2, 1), torch.ones(2, 1), torch.tensor([[0.0, 1.0]]), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "changed", "says"),
    [
        ("rwr", {"threshold": (0.0, 0.1)}, "threshold=0.1, and loss=rwr"),
        ("dpo", {"policy.kl": (0.0, 0.1)}, "policy.kl=0.1, and loss=dpo"),
        ("reinforce", {"beta": (None, 0.2)}, "beta=0.2, and loss=reinforce"),
        (
            "best_of_n",
            {"negative.weight": (1.0, 0.2)},
            "negative.weight=0.2, and loss=best_of_n with negative=own",
        ),
    ],
)
def test_settings_that_a_loss_does_not_read(loss: str, changed: dict, says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        check_unified(Settings(loss), "it", changed)  # type: ignore[arg-type]
