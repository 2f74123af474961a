"""The case of krr-st: digits without labels distilled into twenty images, an encoder trained on them, read off by ten labels a class."""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import OF_SEED, OF_TUNING, Arm, Case, Claim
from counterpoint.training.report import Report

PART = 400
SMALL = {
    "size": 20,
    "target.batch_size": 256,
    "outer.batch_size": 256,
    "inner.widths": (16, 32),
    "inner.networks": 4,
    "inner.updates": 100,
}
RATES = [0.003, 0.01, 0.03, 0.06, 0.1, 0.2]
UNTUNED = "its encoder is not trained, so that there is nothing to tune"


def arm(select: str, parts: int = 2, **rest: Any) -> Arm:
    """A way to choose the images; each part (target model, distillation, training on the set) has equally many steps."""
    return Arm(
        method="krr-st",
        settings={**SMALL, "select": select, **rest},
        tune={"pretrain.learning_rate": RATES},
        budget={"steps": parts * PART},
    )


def held_out(model: Any, data: Any, split: str, seed: int, report: Report) -> dict[str, float]:
    """The error to the target model's features on validation images, which training noted."""
    return {"target_error": report.figures["held_out_error"]} if "held_out_error" in report.figures else {}


CASE = Case(
    key="krr-st",
    data="digits",
    data_options={"labels_per_class": 10, "seed": OF_SEED, "untested": OF_TUNING},
    budget={"steps": 2 * PART},
    seeds=5,
    trials=6,
    baseline="random",
    arms={
        "krr-st": Arm(
            method="krr-st",
            settings=SMALL,
            tune={"outer.learning_rate": [0.003, 0.01, 0.03], "pretrain.learning_rate": [0.03, 0.1]},
            budget={"steps": 3 * PART},
        ),
        "random": arm("random"),
        "kmeans": arm("kmeans"),
        "labels": arm("labels"),
        "all": arm("all"),
        "untrained": Arm(
            method="krr-st", settings={**SMALL, "select": "random", "pretrain.learning_rate": 0.0}, tune={}
        ),
    },
    metrics=("probe_accuracy", "knn_accuracy", "target_error"),
    measure=held_out,
    claims=(
        Claim(
            text="on images that were held out, an encoder trained on the distilled set is nearer to the target model than one trained "
            "on as many real images",
            contrast={"random": 1.0, "krr-st": -1.0},
            metric="target_error",
        ),
        Claim(
            text="and nearer than one trained on the images nearest to the centres of the features",
            contrast={"kmeans": 1.0, "krr-st": -1.0},
            metric="target_error",
        ),
        Claim.better(
            "with ten labels a class, a probe on its features is right more often than on those from real images",
            "krr-st",
            "random",
            metric="probe_accuracy",
        ),
        Claim.better("more often than from centres", "krr-st", "kmeans", metric="probe_accuracy"),
        Claim.better(
            "more often than from as many real images with their labels",
            "krr-st",
            "labels",
            metric="probe_accuracy",
        ),
        Claim.better(
            "more often than without pretraining",
            "krr-st",
            "untrained",
            metric="probe_accuracy",
            unequal=UNTUNED,
        ),
        Claim.better(
            "and at most two points less often than from all images",
            "krr-st",
            "all",
            metric="probe_accuracy",
            above=-0.02,
        ),
    ),
    notes=(
        "20 images of 8x8 pixels out of about 1,260, another split for every seed; target model: the same small encoder of 23 thousand "
        "weights, trained by dcl for 400 steps of 256; 400 outer steps on a pool of 4 networks of 5 thousand weights; 400 steps on the "
        "set; the paper takes 160,000 outer steps for 1,000 images of CIFAR100",
        "target_error is in units of the mean square of the target model's features; “labels” regresses on classes, so it has none",
    ),
)
