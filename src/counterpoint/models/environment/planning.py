"""Planning in finite worlds: optimistic values of an MDP, upper and lower values and a coarse correlated equilibrium of a
zero-sum game, and what a policy is truly worth. All in float64.

Legend: S states, A and B actions, X = S A B pairs, H steps. Values V are [H + 1, S], the last row 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

Equilibrium = Callable[[Tensor, Tensor], Tensor]
"""Upper and lower values [S, A, B] -> joint distributions [S, A, B]."""


@dataclass(frozen=True)
class OptimalPolicy:
    """``q`` [H, S, A], ``v`` [H + 1, S], ``action`` [H, S]: the first best one."""

    q: Tensor
    v: Tensor
    action: Tensor


def plan(transition: Tensor, reward: Tensor, bonus: Tensor | float, states: int, cap: float) -> OptimalPolicy:
    """Backward induction with a bonus: ``Q_h = min(r + bonus + P V_{h+1}, cap)``, ``V_h = max_a Q_h``.

    Args:
        transition: [H or 1, X, S]; one table stands for every step. reward, bonus: [H, X].
        cap: the largest return possible.
    """
    horizon = len(reward)
    gain = reward + bonus
    v = gain.new_zeros(horizon + 1, states)
    q = gain.new_zeros(horizon, states, gain.shape[1] // states)
    for step in reversed(range(horizon)):
        future = transition[step % len(transition)] @ v[step + 1]
        q[step] = (gain[step] + future).clamp(max=cap).view(states, -1)
        v[step] = q[step].amax(-1)
    return OptimalPolicy(q, v, q.argmax(-1))


@dataclass(frozen=True)
class GamePlan:
    """``upper``, ``lower`` [H, S, A, B], their values [H + 1, S], and ``sigma`` [H, S, A, B]."""

    upper: Tensor
    lower: Tensor
    v_upper: Tensor
    v_lower: Tensor
    sigma: Tensor

    def marginals(self) -> tuple[Tensor, Tensor]:
        """The players' own policies [H, S, A] and [H, S, B]."""
        return self.sigma.sum(-1), self.sigma.sum(-2)


def plan_game(
    transition: Tensor,
    reward: Tensor,
    bonus: Tensor | float,
    shape: tuple[int, int, int],
    cap: float,
    equilibrium: Callable[[int], Equilibrium] | None = None,
) -> GamePlan:
    """Backward induction on optimistic and pessimistic values; each step's joint policy is an equilibrium of the two.

    ``Q = min(r + bonus + P V, cap)``, ``q = max(r - bonus + P v, 0)``, V and v their means under sigma.

    Args:
        shape: (S, A, B). equilibrium: per step, another rule than ``coarse_correlated``.
    """
    horizon, states = len(reward), shape[0]
    high, low = reward + bonus, reward - bonus
    upper, lower = high.new_zeros(horizon, *shape), high.new_zeros(horizon, *shape)
    v_upper, v_lower = high.new_zeros(horizon + 1, states), high.new_zeros(horizon + 1, states)
    sigma = high.new_zeros(horizon, *shape)
    for step in reversed(range(horizon)):
        p = transition[step % len(transition)]
        upper[step] = (high[step] + p @ v_upper[step + 1]).clamp(max=cap).view(shape)
        lower[step] = (low[step] + p @ v_lower[step + 1]).clamp(min=0).view(shape)
        rule = coarse_correlated if equilibrium is None else equilibrium(step)
        sigma[step] = rule(upper[step], lower[step])
        v_upper[step] = (sigma[step] * upper[step]).sum((-2, -1))
        v_lower[step] = (sigma[step] * lower[step]).sum((-2, -1))
    return GamePlan(upper, lower, v_upper, v_lower, sigma)


def coarse_correlated(upper: Tensor, lower: Tensor) -> Tensor:
    """[S, A, B] joint distributions in which neither player gains by one fixed action of their own.

    A linear programme per state: the simplex, ``E[Q] >= max_a' E_b[Q(a', b)]`` and ``E[q] <= min_b' E_a[q(a, b')]``. Among
    its solutions the one with the widest ``E[Q - q]`` is taken: what is least known is looked at.
    """
    _, rows, columns = upper.shape
    joint = np.empty(tuple(upper.shape))
    whole = np.ones((1, rows * columns))
    for state, (q, p) in enumerate(zip(upper.numpy(), lower.numpy())):
        first = q[:, None, :] - q[None, :, :]  # [a', a, b]: the gain of a' where (a, b) was told
        second = np.moveaxis(p[:, :, None] - p[:, None, :], 1, 0)  # [b, a, b']: the loss saved by b'
        second = np.stack([p - p[:, [b]] for b in range(columns)])
        limits = np.concatenate([first.reshape(rows, -1), second.reshape(columns, -1)])
        solved = linprog((p - q).reshape(-1), limits, np.zeros(len(limits)), whole, [1.0], method="highs")
        if not solved.success:
            raise RuntimeError(f"the equilibrium of state {state} was not found: {solved.message}")
        point = np.clip(solved.x, 0, None)
        joint[state] = (point / point.sum()).reshape(rows, columns)
    return torch.from_numpy(joint)


def equilibrium_gaps(upper: Tensor, lower: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """How much each player would gain by a fixed action, [...]; at or below 0 in a coarse correlated equilibrium."""
    first, second = sigma.sum(-1), sigma.sum(-2)
    gain = (upper * second[..., None, :]).sum(-1).amax(-1) - (sigma * upper).sum((-2, -1))
    saved = (sigma * lower).sum((-2, -1)) - (lower * first[..., :, None]).sum(-2).amin(-1)
    return gain, saved


def policy_value(transition: Tensor, reward: Tensor, start: Tensor, policy: Tensor) -> float:
    """Expected return of a policy [H, S, A] (joint actions in a game) from the start distribution [S]."""
    v = torch.zeros_like(start)
    for step in reversed(range(len(reward))):
        q = reward[step] + transition[step % len(transition)] @ v
        v = (q.view(policy.shape[1:]) * policy[step]).sum(-1)
    return float(start @ v)


def best_responses(
    transition: Tensor, reward: Tensor, start: Tensor, first: Tensor, second: Tensor
) -> tuple[float, float]:
    """What the first player's policy [H, S, A] is sure to earn, and what the second's [H, S, B] can be made to give."""
    sure, given = torch.zeros_like(start), torch.zeros_like(start)
    shape = (*first.shape[1:], second.shape[2])
    for step in reversed(range(len(reward))):
        p, r = transition[step % len(transition)], reward[step]
        sure = ((r + p @ sure).view(shape) * first[step][:, :, None]).sum(1).amin(-1)
        given = ((r + p @ given).view(shape) * second[step][:, None, :]).sum(2).amax(-1)
    return float(start @ sure), float(start @ given)
