"""Contrastive UCB with and without its bonus: a combination lock, FrozenLake and a random game."""

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

LAKE: dict[str, Any] = {"data": "FrozenLake-v1", "data_options": {"horizon": 60}, "budget": {"steps": 1200}}
GAME: dict[str, Any] = {"data": "game", "data_options": {"states": 6, "horizon": 4}, "budget": {"steps": 375}}

CASE = Case(
    key="contrastive-ucb",
    data="lock",
    arms={
        "contrastive-ucb": Arm(method="contrastive-ucb", settings={"bonus": 2.0}),
        "no bonus": Arm(
            method="contrastive-ucb", settings={"bonus": 0.0}, tune={"learning_rate": [0.03, 0.1]}
        ),
        "epsilon-greedy": Arm(
            method="contrastive-ucb",
            settings={"bonus": 0.0, "epsilon": 0.2},
            tune={"epsilon": [0.1, 0.2, 0.4], "learning_rate": [0.03, 0.1]},
        ),
        "counts of true features": Arm(method="count-ucb"),
        "contrastive-ucb, lake": Arm(
            method="contrastive-ucb", settings={"bonus": 0.1, "rounds": 120}, tune={}, **LAKE
        ),
        "no bonus, lake": Arm(
            method="contrastive-ucb", settings={"bonus": 0.0, "rounds": 120}, tune={}, **LAKE
        ),
        "epsilon-greedy, lake": Arm(
            method="contrastive-ucb", settings={"bonus": 0.0, "epsilon": 0.2, "rounds": 120}, tune={}, **LAKE
        ),
        "contrastive-ucb, game": Arm(
            method="contrastive-ucb", settings={"bonus": 0.5, "rounds": 25}, tune={}, **GAME
        ),
        "no bonus, game": Arm(
            method="contrastive-ucb", settings={"bonus": 0.0, "rounds": 25}, tune={}, **GAME
        ),
    },
    baseline="no bonus",
    metrics=("return", "regret", "model_error"),
    claims=(
        Claim.better("the bonus opens the lock", "contrastive-ucb", "no bonus"),
        Claim.better("better than epsilon-greedy play on the lock", "contrastive-ucb", "epsilon-greedy"),
        Claim(
            text="less regret on the lock than without bonus",
            contrast={"no bonus": 1.0, "contrastive-ucb": -1.0},
            metric="regret",
        ),
        Claim.better("the bonus crosses the frozen lake", "contrastive-ucb, lake", "no bonus, lake"),
        Claim.better(
            "better than epsilon-greedy play on the lake", "contrastive-ucb, lake", "epsilon-greedy, lake"
        ),
        Claim.better(
            "in the game the first player is sure to earn more with bonus",
            "contrastive-ucb, game",
            "no bonus, game",
        ),
    ),
    budget={"steps": 2250},
    seeds=5,
    trials=3,
    notes=(
        "lock, lake and game are measured exactly by their tables, which the learner does not see",
        "regret is summed over the rounds' policies; every round plays one episode a step (the lake: one episode)",
        "game: return is what the first player's policy is sure to earn, regret sums how far the policies can be exploited",
    ),
)
