"""The case of sla: rotated digits, where plain augmentation harms (a 6 becomes a 9) and a joint label does not."""

from __future__ import annotations

from counterpoint.study.case import Arm, Case, Claim

SHARED = {"batch_size": 64}
RATES = {"learning_rate": [0.03, 0.1, 0.3]}


def arm(mode: str) -> Arm:
    """A mode with its learning rate chosen on validation."""
    return Arm(method="sla", settings={**SHARED, "mode": mode}, tune=RATES)


CASE = Case(
    key="sla",
    data="mnist5k",
    data_options={"limit": 300},
    budget={"steps": 150},
    seeds=5,
    trials=3,
    baseline="baseline",
    arms={
        "baseline": arm("baseline"),
        "baseline, four times the steps": Arm(
            method="sla", settings={**SHARED, "mode": "baseline"}, tune={}, budget={"steps": 600}
        ),
        "augmented": arm("da"),
        "multi-task": arm("mt"),
        "sla": arm("sla"),
        "sla+sd": arm("sla+sd"),
    },
    metrics=("accuracy", "aggregated_accuracy"),
    claims=(
        Claim.better(
            "rotation as augmentation harms where it changes the class: SLA in one pass beats it by 5 points and more",
            "sla",
            "augmented",
            metric="accuracy",
            above=0.05,
        ),
        Claim.better(
            "a second task harms likewise: SLA in one pass beats multi-task learning by 5 points and more",
            "sla",
            "multi-task",
            metric="accuracy",
            above=0.05,
        ),
        Claim.better(
            "SLA, aggregated over its copies, beats the baseline",
            "sla",
            "baseline",
            metric="aggregated_accuracy",
        ),
        Claim.better(
            "the distilled plain head, in one pass, beats the baseline",
            "sla+sd",
            "baseline",
            metric="accuracy",
        ),
        Claim.better(
            "SLA, aggregated, beats a baseline of as many forward passes in training",
            "sla",
            "baseline, four times the steps",
            metric="aggregated_accuracy",
        ),
    ),
    notes=(
        "300 labelled digits, 150 steps of 64 images, an encoder of 23 thousand weights; the paper trains a ResNet on CIFAR "
        "for 80,000 steps",
        "a step of all arms but the baselines' handles four copies of each image; the second baseline has as many copies in all",
        "the baselines know one copy, so that their two accuracies are one figure",
    ),
)
