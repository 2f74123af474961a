"""Contrastive UCB with and without its bonus: a combination lock, FrozenLake and a random game."""

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

LOCK: dict[str, Any] = {"data": "lock", "data_options": {"horizon": 8}, "budget": {"steps": 3000}}
LAKE: dict[str, Any] = {"data": "FrozenLake-v1", "data_options": {"horizon": 60}, "budget": {"steps": 1200}}
GAME: dict[str, Any] = {"data": "game", "data_options": {"states": 6, "horizon": 4}, "budget": {"steps": 375}}
RATES = {"learning_rate": [0.03, 0.1]}
BONUS = {"bonus": [0.1, 0.3, 1.0, 3.0], **RATES}
EPSILON = {"epsilon": [0.05, 0.1, 0.2, 0.4], **RATES}


def forms(world: dict[str, Any], rounds: int, suffix: str) -> dict[str, Arm]:
    """The method, the method without its bonus and epsilon-greedy play, each tuned with as many trials."""
    plain = {"bonus": 0.0, "rounds": rounds}
    return {
        f"contrastive-ucb{suffix}": Arm(
            method="contrastive-ucb", settings={"rounds": rounds}, tune=BONUS, **world
        ),
        f"no bonus{suffix}": Arm(method="contrastive-ucb", settings=plain, tune=RATES, **world),
        f"epsilon-greedy{suffix}": Arm(
            method="contrastive-ucb", settings={**plain, "epsilon": 0.2}, tune=EPSILON, **world
        ),
    }


CASE = Case(
    key="contrastive-ucb",
    data="lock",
    data_options={"horizon": 8},
    arms={
        **forms(LOCK, 200, ""),
        "counts of true features": Arm(method="count-ucb", settings={"rounds": 200}),
        **forms(LAKE, 120, ", lake"),
        **forms(GAME, 25, ", game"),
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
    budget={"steps": 3000},
    seeds=10,
    trials=6,
    notes=(
        "lock, lake and game are measured exactly by their tables, which the learner does not see",
        "every arm's settings are chosen on other seeds of its own world, with the same number of trials",
        "regret is summed over the rounds' policies; every round plays one episode a step (the lake: one episode)",
        "game: return is what the first player's policy is sure to earn, regret sums how far the policies can be exploited",
    ),
)
