"""What policies are worth in a world, exactly where its tables are known and on played episodes elsewhere.

Legend: S states, A and B actions, H steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.data.environment.finite import FiniteWorld, Tables
from counterpoint.models.environment.planning import best_responses, plan, plan_game, policy_value


def worth(first: Tensor, second: Tensor, data: FiniteWorld, played: dict[str, Tensor]) -> float:
    """What policies [H, S, A] and [H, S, B] earn: exactly where the tables are known (for two players minus their
    exploitability), else the return of the round's own play."""
    if data.tables is None:
        return float(played["reward"][-1].sum(0)[0])
    tables = (data.tables.transition, data.tables.reward, data.tables.start)
    if data.opponents == 1:
        return policy_value(*tables, first.double())
    sure, given = best_responses(*tables, first.double(), second.double())
    return sure - given


def best_value(data: FiniteWorld) -> float:
    """The largest expected return (for two players the value of the game) by the exact tables."""
    tables = _tables(data)
    if data.opponents == 1:
        optimal = plan(tables.transition, tables.reward, 0.0, data.states, float("inf"))
        return float(tables.start @ optimal.v[0])
    shape = (data.states, data.actions, data.opponents)
    game = plan_game(tables.transition, tables.reward, 0.0, shape, float("inf"))
    return float(tables.start @ game.v_upper[0])


def total_variation(transition: Tensor, data: FiniteWorld) -> float:
    """Mean over steps and pairs of half the L1 distance between a model [H or 1, X, S] and the exact transitions."""
    exact = _tables(data).transition
    return float((0.5 * (transition - exact).abs().sum(-1)).mean())


def guaranteed(first: Tensor, second: Tensor, data: FiniteWorld) -> tuple[float, float]:
    """(what the first player is sure to earn, exploitability of the pair of policies)."""
    tables = _tables(data)
    sure, given = best_responses(
        tables.transition, tables.reward, tables.start, first.double(), second.double()
    )
    return sure, given - sure


def played_return(first: Tensor, second: Tensor, data: FiniteWorld, episodes: int, seed: int) -> float:
    """Mean return of episodes."""
    policy = (first[..., :, None] * second[..., None, :]).flatten(-2)
    never = torch.full((episodes,), -10)
    return float(data.play(policy, never, torch.Generator().manual_seed(seed)).rewards.sum(1).mean())


def _tables(data: FiniteWorld) -> Tables:
    assert data.tables is not None
    return data.tables
