"""SPR-UCB with and without its bonus on CartPole: it checks that the deep path learns."""

from counterpoint.study.case import Arm, Case, Claim

SETTINGS = {
    "frames": 2000, "warmup": 400, "segment": 100, "window": 5, "jumps": 3, "learning_rate": 1e-3, "reward_scale": 0.1,
}  # fmt: skip

CASE = Case(
    key="spr-ucb",
    data="CartPole-v1",
    model="c51-64",
    arms={
        "spr-ucb": Arm(method="spr-ucb", settings=SETTINGS, tune={}),
        "spr": Arm(method="spr-ucb", settings={**SETTINGS, "bonus": 0.0}, tune={}),
    },
    baseline="spr",
    metrics=("return",),
    claims=(
        Claim(
            text="with bonus it learns to balance beyond 100 steps", contrast={"spr-ucb": 1.0}, above=100.0
        ),
        Claim(text="without bonus it learns to balance beyond 100 steps", contrast={"spr": 1.0}, above=100.0),
        Claim.better("it earns more with bonus", "spr-ucb", "spr"),
    ),
    budget={"steps": 600},
    seeds=5,
    notes=(
        "2,000 frames and 600 updates, far below the paper's Atari runs; random play balances for about 22 steps",
    ),
)
