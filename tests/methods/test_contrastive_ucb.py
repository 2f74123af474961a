"""Contrastive UCB and its relatives: they learn, explore, keep no hidden state, and run on gymnasium environments."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from counterpoint.data.environment.finite import load_game, load_lock
from counterpoint.errors import CounterpointError
from counterpoint.generation.roll_in import mean_reward, roll_in
from counterpoint.methods.catalog import load
from counterpoint.tasks.task import task
from counterpoint.training import Budget, Run

KIND = task("environment")
SMALL = '{"is_slippery": false, "desc": ["SFF", "HFH", "HFG"]}'


def fit(
    key: str, folder: Path, data: object, total: int | None = None, model: str = "auto", **settings: object
):
    start = KIND.load_model(model, data, 0)
    budget = Budget(steps=total) if total else None
    with Run(folder, progress=False, budget=budget, audit=True) as run:
        trained = load(key).settings(**settings).fit(start, data, run)
        trained.reported = run.reported
        return trained


def test_a_lock_is_opened(tmp_path: Path) -> None:
    lock = load_lock(horizon=3, actions=3, emissions=1)
    before = KIND.evaluate(KIND.load_model("auto", lock, 0), lock, "test")
    model = fit("contrastive-ucb", tmp_path / "bonus", lock, bonus=1.0, rounds=30, steps=10)
    found = KIND.evaluate(model, lock, "test")
    assert found["return"] > 0.9
    assert found["model_error"] < 0.5 * before["model_error"]
    counted = fit("count-ucb", tmp_path / "counts", lock, rounds=40)
    assert KIND.evaluate(counted, lock, "test")["return"] > 0.9


def test_a_game_is_planned_for_both_players(tmp_path: Path) -> None:
    game = load_game()
    before = KIND.evaluate(KIND.load_model("auto", game, 0), game, "test")
    model = fit("contrastive-ucb", tmp_path, game, rounds=15, steps=10)
    after = KIND.evaluate(model, game, "test")
    assert after["exploitability"] < 0.5 * before["exploitability"]
    torch.testing.assert_close(model.first.sum(-1), torch.ones_like(model.first[..., 0]))
    counted = fit("count-ucb", tmp_path / "counts", game, rounds=10)
    assert KIND.evaluate(counted, game, "test")["exploitability"] < before["exploitability"]


def test_roll_ins_cover_each_step_freely_and_follow_the_policy_before(tmp_path: Path) -> None:
    lock = load_lock(horizon=4)
    never = torch.zeros(4, 9, 4)
    never[..., 3] = 1.0  # always the last action where the policy acts
    torch.manual_seed(0)
    rows = [roll_in(never, torch.ones(4, 9, 1), lock) for _ in range(200)]
    pair = torch.cat([row["pair"] for row in rows])
    assert pair.shape == (200, 4, 2)
    action = pair % 4
    for step in range(4):
        for column in range(2 if step else 1):
            assert action[:, step, column].bincount(minlength=4).sub(50).abs().max() < 30
    assert rows[0]["valid"][0, 0].tolist() == [1.0, 0.0]


def test_rewards_are_means_of_what_was_played() -> None:
    game = load_game(states=2, actions=2, opponents=1, horizon=2)
    seen = {
        "pair": torch.tensor([[[0, 1], [2, 2]], [[0, 1], [3, 2]]]),
        "valid": torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]]),
        "reward": torch.tensor([[[1.0, 9.0], [2.0, 4.0]], [[0.0, 9.0], [5.0, 6.0]]]),
    }
    assert mean_reward(seen, game).tolist() == [[0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 4.0, 5.0]]


def test_a_saved_model_is_the_same_model(tmp_path: Path) -> None:
    lock = load_lock(horizon=2)
    for key in ("contrastive-ucb", "count-ucb"):
        model = fit(key, tmp_path / key, lock, rounds=4)
        KIND.save_model(model, tmp_path / f"{key}-model")
        again = KIND.load_model(str(tmp_path / f"{key}-model"), lock, 0)
        assert KIND.evaluate(again, lock, "test") == KIND.evaluate(model, lock, "test")
        with pytest.raises(CounterpointError, match="world of size 9"):
            KIND.load_model(str(tmp_path / f"{key}-model"), load_game(), 0)


def test_what_cannot_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="horizon"):
        KIND.load_data("lock", horizen=3)
    with pytest.raises(CounterpointError, match="at least 1"):
        KIND.load_data("lock", horizon=0)
    with pytest.raises(CounterpointError, match="c51"):
        KIND.load_model("resnet", load_lock(), 0)
    with pytest.raises(CounterpointError, match="low-rank-3"):
        KIND.load_model("c51", load_lock(), 0)
    with pytest.raises(CounterpointError, match="contrastive-ucb"):
        fit("spr-ucb", tmp_path, load_lock())


class TestGymnasium:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("gymnasium")

    def test_the_bonus_crosses_the_lake(self, tmp_path: Path) -> None:
        lake = KIND.load_data("gym:FrozenLake-v1", horizon=12, arguments=SMALL)
        assert lake.stationary
        assert lake.tables is not None
        settings = {"rounds": 20, "steps": 8}
        model = fit("contrastive-ucb", tmp_path, lake, bonus=0.3, **settings)
        assert KIND.evaluate(model, lake, "test")["return"] == pytest.approx(1.0)

    def test_episodes_are_played_the_same_twice_and_end_in_the_end(self) -> None:
        lake = KIND.load_data("FrozenLake-v1", horizon=12)
        policy = torch.full((12, 17, 4), 0.25)
        free = torch.tensor([0, 5])
        plays = [lake.play(policy, free, torch.Generator().manual_seed(3)) for _ in range(2)]
        assert torch.equal(plays[0].states, plays[1].states)
        assert plays[0].states.shape == (2, 13)
        rows = plays[0].states.tolist()
        assert all(16 not in row or set(row[row.index(16) :]) == {16} for row in rows)
        t = lake.tables
        torch.testing.assert_close(t.transition.sum(-1), torch.ones(1, 68, dtype=torch.float64))

    def test_cells_tuples_and_offsets_become_states(self) -> None:
        pole = KIND.load_data("CartPole-v1", bins="3", horizon=20)
        assert pole.states == 82
        play = pole.play(torch.full((20, 82, 2), 0.5), torch.tensor([-10]), torch.Generator().manual_seed(0))
        assert play.rewards.sum() > 5
        assert KIND.load_data("Blackjack-v1").states == 32 * 11 * 2 + 1
        assert KIND.evaluate(KIND.load_model("auto", pole, 0), pole, "validation")["return"] > 5

    def test_deep_play_learns_and_keeps_its_state(self, tmp_path: Path) -> None:
        pole = KIND.load_data("CartPole-v1", horizon=60)
        settings = {"frames": 250, "warmup": 60, "segment": 60, "updates": 0.3, "window": 3, "jumps": 2}
        model = fit(
            "spr-ucb", tmp_path, pole, model="c51-16", learning_rate=1e-3, reward_scale=0.1, **settings
        )
        KIND.save_model(model, tmp_path / "model")
        again = KIND.load_model(str(tmp_path / "model"), pole, 0)
        assert KIND.evaluate(again, pole, "test") == KIND.evaluate(model, pole, "test")
        with pytest.raises(CounterpointError, match="bins=8"):
            fit("contrastive-ucb", tmp_path / "finite", pole)

    def test_the_learning_curve_counts_every_step_by_its_episode(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from counterpoint.methods.baselines import spr_ucb

        rewards, ends = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]), torch.tensor([0, 1, 0, 0, 1]).bool()
        played = {
            "observation": torch.arange(20.0).view(5, 4),
            "action": torch.zeros(5).long(),
            "reward": rewards,
            "done": ends,
            "cut": torch.zeros(5).bool(),
        }
        monkeypatch.setattr(spr_ucb, "play_steps", lambda *_: dict(played))
        pole = KIND.load_data("CartPole-v1", horizon=60)
        settings = {"frames": 15, "warmup": 100, "segment": 5, "window": 2, "jumps": 1, "reward_scale": 0.5}
        model = fit("spr-ucb", tmp_path, pole, model="c51-16", **settings)
        rows = [(row["return_over_steps"], row["steps"]) for row in model.reported.rows("rounds")]
        assert rows == [(2 * 3.0 + 3 * 28.0, 5)] * 3  # unscaled
        found = KIND.of_training(model.reported, pole, "validation")
        assert found["learning_return"] == pytest.approx(90 / 5)
        KIND.save_model(model, tmp_path / "model")
        again = KIND.load_model(str(tmp_path / "model"), pole, 0)
        assert KIND.evaluate(again, pole, "validation") == KIND.evaluate(model, pole, "validation")

    def test_deep_play_without_bonus_and_without_prediction_is_plain(self, tmp_path: Path) -> None:
        lake = KIND.load_data("FrozenLake-v1", horizon=12, one_hot=True, arguments=SMALL)
        settings = {"frames": 200, "warmup": 80, "segment": 40, "window": 2, "jumps": 2, "bonus": 0.0}
        start = KIND.load_model("c51-16", lake, 0)
        frozen = {name: value.clone() for name, value in start.transition.state_dict().items()}
        plain = fit(
            "spr-ucb", tmp_path / "plain", lake, model="c51-16", prediction=0.0, updates=0.2, **settings
        )
        for name, value in plain.transition.state_dict().items():
            assert torch.equal(value, frozen[name])  # nothing predicts, so nothing moves it
        assert not torch.equal(plain.trunk[0].weight, start.trunk[0].weight)
        spr = fit("spr-ucb", tmp_path / "spr", lake, model="c51-16", updates=0.2, **settings)
        assert not torch.equal(spr.transition[0].weight, frozen["0.weight"])

    def test_wrong_environments_are_told_what_to_do(self) -> None:
        with pytest.raises(CounterpointError, match="no environment"):
            KIND.load_data("FrozenLak-v1")
        with pytest.raises(CounterpointError, match="Discrete"):
            KIND.load_data("Pendulum-v1")
        with pytest.raises(CounterpointError, match="expected a JSON object"):
            KIND.load_data("FrozenLake-v1", arguments="{slippery}")
        with pytest.raises(CounterpointError, match="could not be made"):
            KIND.load_data("FrozenLake-v1", arguments='{"slippery": 1}')
        with pytest.raises(CounterpointError, match="cells"):
            KIND.load_data("CartPole-v1", bins=100)


@pytest.mark.slow
def test_deep_play_learns_to_balance(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    pole = KIND.load_data("CartPole-v1")
    settings = {"frames": 2500, "warmup": 500, "segment": 100, "updates": 0.5, "window": 10}
    start = KIND.load_model("c51-128", pole, 0)
    with Run(tmp_path, progress=False) as run:
        model = (
            load("spr-ucb").settings(learning_rate=1e-3, reward_scale=0.1, **settings).fit(start, pole, run)
        )
    assert KIND.evaluate(model, pole, "test")["return"] > 100
