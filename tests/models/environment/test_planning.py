"""Plans against enumeration, equilibria against their definition, the learnt model's sums."""

from itertools import product

import pytest
import torch

from counterpoint.data.environment.finite import load_game, load_lock
from counterpoint.evaluation.control import best_value, total_variation
from counterpoint.models.environment.low_rank import LowRankModel, log_ratio, normalised
from counterpoint.models.environment.planning import (
    best_responses,
    coarse_correlated,
    equilibrium_gaps,
    plan,
    plan_game,
    policy_value,
)
from counterpoint.models.environment.replay import Replay

DRAWS = torch.Generator().manual_seed(0)


def test_the_plan_is_the_best_of_all_policies() -> None:
    game = load_game(states=2, actions=2, opponents=1, horizon=2, seed=3)
    t = game.tables
    values = []
    for choice in product(range(2), repeat=4):
        policy = torch.nn.functional.one_hot(torch.tensor(choice).view(2, 2), 2).double()
        values.append(policy_value(t.transition, t.reward, t.start, policy))
    found = plan(t.transition, t.reward, 0.0, 2, float("inf"))
    assert float(t.start @ found.v[0]) == pytest.approx(max(values))
    assert best_value(game) == pytest.approx(max(values))


def test_equilibria_leave_neither_player_a_gain() -> None:
    upper = 2 * torch.randn(20, 3, 4, generator=DRAWS, dtype=torch.float64)
    lower = upper - torch.rand(20, 3, 4, generator=DRAWS, dtype=torch.float64)
    sigma = coarse_correlated(upper, lower)
    torch.testing.assert_close(sigma.sum((-2, -1)), torch.ones(20, dtype=torch.float64))
    assert sigma.min() >= 0
    first, second = equilibrium_gaps(upper, lower, sigma)
    assert float(torch.maximum(first, second).max()) <= 1e-8


def test_the_plain_plan_of_a_known_game_is_not_exploitable() -> None:
    game = load_game(seed=2)
    t = game.tables
    found = plan_game(t.transition, t.reward, 0.0, (game.states, 2, 2), float("inf"))
    sure, given = best_responses(t.transition, t.reward, t.start, *found.marginals())
    assert given - sure == pytest.approx(0.0, abs=1e-7)
    assert float(t.start @ found.v_upper[0]) == pytest.approx(sure, abs=1e-7)
    uniform = torch.full((3, 4, 2), 0.5, dtype=torch.float64)
    sure, given = best_responses(t.transition, t.reward, t.start, uniform, uniform)
    joint = (uniform[..., :, None] * uniform[..., None, :]).flatten(-2)
    assert sure <= policy_value(t.transition, t.reward, t.start, joint) <= given


def test_optimism_brackets_the_value_and_caps() -> None:
    game = load_game(seed=1)
    t = game.tables
    wide = plan_game(t.transition, t.reward, 0.3, (4, 2, 2), 3.0)
    value = best_value(game)
    assert float(t.start @ wide.v_lower[0]) <= value <= float(t.start @ wide.v_upper[0])
    assert float(wide.upper.max()) <= 3.0
    assert float(wide.lower.min()) >= 0.0


def test_the_lock_is_what_it_says() -> None:
    lock = load_lock()
    assert best_value(lock) == pytest.approx(1.0)
    uniform = torch.full((5, 9, 4), 0.25, dtype=torch.float64)
    t = lock.tables
    assert policy_value(t.transition, t.reward, t.start, uniform) == pytest.approx(4.0**-5)
    policy = plan(t.transition, t.reward, 0.0, 9, 5.0).action
    sure = torch.nn.functional.one_hot(policy, 4).double()
    played = lock.play(sure, torch.full((50,), -10), torch.Generator().manual_seed(0))
    assert played.rewards.sum(1).tolist() == [1.0] * 50


def test_rows_of_the_model_sum_to_one_and_the_truth_is_representable() -> None:
    model = LowRankModel(5, 3, 4, dimension=2, seed=1)
    rows = model.transition().sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows))
    lock = load_lock()
    latent = torch.nn.functional.one_hot(lock.latent, 3).double()
    emissions = latent.T / latent.sum(0)[:, None]
    psi = emissions.T.expand(5, 9, 3) * 9 + 1e-12
    phi = torch.linalg.lstsq(emissions.T.expand(5, 9, 3), lock.tables.transition.mT).solution.mT.clamp(min=0)
    found = normalised(phi + 1e-12, psi, torch.full((9,), 1 / 9, dtype=torch.float64))
    assert total_variation(found.transition, lock) < 1e-6


def test_log_ratio_against_indexing_and_its_gradient() -> None:
    phi, psi = (
        torch.rand(2, n, 3, generator=DRAWS, dtype=torch.float64).add(0.1).requires_grad_() for n in (6, 4)
    )
    step = torch.arange(2)[:, None]
    pair, state = torch.tensor([[0, 5, 2], [1, 1, 3]]), torch.tensor([[3, 0, 1], [2, 2, 0]])
    found = log_ratio(phi, psi, step, pair, state)
    expected = torch.stack([(phi[h][pair[h]] * psi[h][state[h]]).sum(-1).log() for h in range(2)])
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(lambda a, b: log_ratio(a, b, step, pair, state), (phi, psi))


def test_a_replay_is_saved_whole() -> None:
    replay, again = (Replay(3, x=torch.zeros(2)) for _ in range(2))
    replay.add(x=torch.ones(2, 2))
    again.load_state_dict(replay.state_dict())
    assert len(again) == 2
    assert again[torch.tensor([1])]["x"].tolist() == [[1.0, 1.0]]
