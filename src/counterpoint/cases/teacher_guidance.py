"""The case of teacher-guidance: digits of which three labels in ten are wrong, by kernels whose ridge is right or too small, and networks."""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import OF_SEED, OF_TUNING, Arm, Case, Claim

ROUNDS = 8
NETWORKS = 4
TRAINING = 150


def kernel(penalty: float | None, rounds: int = ROUNDS, **settings: Any) -> Arm:
    """A chain in closed form; a penalty of None is chosen on validation."""
    own = {"form": "kernel", "rounds": rounds, "kernel.gamma": 0.1, **settings}
    if penalty is None:
        return Arm(method="teacher-guidance", settings=own, tune={"kernel.penalty": [0.1, 0.3, 1.0, 3.0]})
    return Arm(method="teacher-guidance", settings={**own, "kernel.penalty": penalty}, tune={})


def network(rounds: int = NETWORKS, trainings: int = NETWORKS, **settings: Any) -> Arm:
    """A chain of networks, each trained for equally many steps, its learning rate chosen on validation."""
    return Arm(
        method="teacher-guidance",
        settings={"form": "network", "rounds": rounds, "network.batch_size": 32, **settings},
        tune={"network.learning_rate": [3e-4, 1e-3, 3e-3, 1e-2]},
        budget={"steps": trainings * TRAINING},
    )


CASE = Case(
    key="teacher-guidance",
    kind="images",
    data="digits",
    data_options={"mislabelled": 0.3, "limit": 400, "seed": OF_SEED, "untested": OF_TUNING},
    budget={"steps": TRAINING},
    seeds=10,
    trials=4,
    tune_by="accuracy",
    baseline="ridge",
    arms={
        "ridge": kernel(1.0, rounds=1),
        "alone": kernel(1.0, weight=0.0),
        "quarter": kernel(1.0, weight=0.25),
        "half": kernel(1.0, weight=0.5),
        "best weight": kernel(1.0),
        "weak: ridge": kernel(0.1, rounds=1),
        "weak: alone": kernel(0.1, weight=0.0),
        "weak: half": kernel(0.1, weight=0.5),
        "weak: best weight": kernel(0.1),
        "tuned: ridge": kernel(None, rounds=1),
        "tuned: best weight": kernel(None),
        "network: first": network(rounds=1, trainings=1),
        "network: alone": network(weight=0.0),
        "network: half": network(weight=0.5),
        "network: best weight": network(trainings=2 * NETWORKS - 1),
    },
    metrics=("accuracy",),
    claims=(
        Claim.better(
            "eight steps without the truth fall below the plain ridge regression that they began with",
            "ridge",
            "alone",
            metric="accuracy",
        ),
        Claim.better(
            "half of the truth in every step dampens this", "half", "alone", metric="accuracy", above=0.02
        ),
        Claim.better("a quarter of the truth does, too", "quarter", "alone", metric="accuracy", above=0.02),
        Claim.better(
            "where the ridge is too small, steps without the truth help",
            "weak: alone",
            "weak: ridge",
            metric="accuracy",
        ),
        Claim.better("and the truth dampens that, too", "weak: alone", "weak: half", metric="accuracy"),
        Claim.better(
            "the best weight of each step beats half of the truth there",
            "weak: best weight",
            "weak: half",
            metric="accuracy",
        ),
        Claim.better(
            "where the ridge is right, the best weight beats none",
            "best weight",
            "alone",
            metric="accuracy",
        ),
        Claim.better(
            "with the ridge chosen on validation for both, a chain of best weights beats plain ridge regression",
            "tuned: best weight",
            "tuned: ridge",
            metric="accuracy",
        ),
        Claim.better(
            "networks: half of the truth beats none",
            "network: half",
            "network: alone",
            metric="accuracy",
        ),
        Claim.better(
            "networks: the estimated weight beats none",
            "network: best weight",
            "network: alone",
            metric="accuracy",
        ),
        Claim.better(
            "networks: the estimated weight beats the first step's network",
            "network: best weight",
            "network: first",
            metric="accuracy",
        ),
    ),
    notes=(
        "400 training digits, three labels in ten wrong on purpose, another split and other wrong labels for every seed; kernel rbf of "
        "gamma 0.1 on pixels in [0, 1], penalty 1, and 0.1 where it is weak; eight steps",
        "networks: 23 thousand weights, four steps of 150 batches of 32 each; with the estimated weight three of the steps take another "
        "training of as many; the paper trains ResNets for 75 passes over CIFAR",
        "validation labels are right, as a person's few checked labels would be",
    ),
)
