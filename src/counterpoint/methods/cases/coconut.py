"""The case of coconut: families of telephone prompts that arrive two by two, heard in eight voices and five languages."""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

FAMILIES = "vm,digits,letters,conf,phonetic,spy,dir,queue,dictate,demo"
RATES = {"learning_rate": [3e-4, 1e-3, 3e-3]}
SHARED = {"tasks": 5, "head": "classifier", "memory": 50, "replay_share": 0.75}
PLAIN = {"contrast_weight": 0.0, "multimodal_weight": 0.0}
WEIGHTS = [0.1, 0.5, 2.0]


def arm(*tuned: str, **settings: Any) -> Arm:
    """A form of the training; the learning rate and the named weights are chosen on validation."""
    return Arm(
        method="coconut",
        settings={**SHARED, **settings},
        tune={**RATES, **{name: WEIGHTS for name in tuned}},
    )


CASE = Case(
    key="coconut",
    data="voices",
    data_options={"label": "family", "classes": FAMILIES, "seconds": 1.0, "test": 0.3},
    budget={"steps": 300},
    seeds=10,
    trials=3,
    baseline="replay",
    arms={
        "fine-tuning": arm(**{**PLAIN, "memory": 0}),
        "replay": arm(**PLAIN),
        "replay + audio distillation": arm("distillation_weight", **PLAIN, distillation="audio"),
        "replay + ntpt": arm("contrast_weight", contrast="ntpt", multimodal_weight=0.0),
        "replay + nspt": arm("contrast_weight", multimodal_weight=0.0),
        "coconut": arm("contrast_weight"),
        "coconut + distillation": arm("contrast_weight", distillation="classes"),
        "joint": arm(**{**PLAIN, "tasks": 1, "memory": 0}),
    },
    metrics=(
        "average_balanced_accuracy",
        "last_balanced_accuracy",
        "average_accuracy",
        "last_accuracy",
        "forgetting",
        "macro_f1",
    ),
    claims=(
        Claim.better(
            "replaying five clips per family forgets less than fine-tuning: last balanced accuracy",
            "replay",
            "fine-tuning",
            metric="last_balanced_accuracy",
        ),
        Claim.better(
            "COCONUT understands all families seen so far better than replay, on average over the stages",
            "coconut",
            "replay",
            metric="average_balanced_accuracy",
        ),
        Claim.better(
            "and after the last stage",
            "coconut",
            "replay",
            metric="last_balanced_accuracy",
        ),
        Claim.better(
            "the student's vectors as negatives (NSPT) are better than the teacher's (NTPT), after the last stage",
            "replay + nspt",
            "replay + ntpt",
            metric="last_balanced_accuracy",
        ),
        Claim.better(
            "distillation added to COCONUT is better than COCONUT, after the last stage",
            "coconut + distillation",
            "coconut",
            metric="last_balanced_accuracy",
        ),
        Claim.better(
            "training on all families at once is better than learning them in turn with COCONUT, after the last stage",
            "joint",
            "coconut",
            metric="last_balanced_accuracy",
        ),
    ),
    notes=(
        "ten families of prompts in five stages of two, in another order for each seed; 1,828 training clips cut to one second, "
        "no prompt on two sides; 60 steps of 32 clips per stage, and as many in all for joint training",
        "three quarters of a batch are kept clips (fifty in all), the same for every arm that replays: new and old families are "
        "then about equally frequent at the end",
        "the families are unequal in size by more than ten, so the claims are on the mean over families (balanced accuracy), of "
        "which chance is 0.1 after the last stage and 0.23 on average over the stages",
        "a small encoder from nothing and a linear classifier in place of wav2vec 2.0 and a decoder; with the decoder, so few "
        "steps leave the intents near chance. Distillation is therefore that of the classifier's scores of old families",
    ),
)
