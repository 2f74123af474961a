"""The case of adpa: a small model that describes things learns from a larger one that was trained on the same pairs.

What is written afterwards is counted: right facts less wrong ones. Every arm has the same passes over the pairs; adpa+ has both stages.
"""

from __future__ import annotations

from typing import Any

from counterpoint.cases.dpo import written
from counterpoint.study.case import Arm, Case, Claim

SAME: dict[str, Any] = {"batch_size": 16, "epochs": 2.0}
RATES = {"learning_rate": [1e-3, 3e-3]}
TAUGHT: dict[str, Any] = {
    **SAME, "max_new_tokens": 48, "teachers.before": "describer-teacher", "teachers.beta": 0.1,
    "teachers.learning_rate": 1e-3, "teachers.epochs": 2.0, "top_k": 50,
}  # fmt: skip


def taught(**settings: Any) -> Arm:
    """ADPA with some settings."""
    return Arm(method="adpa", settings={**TAUGHT, **settings}, tune=RATES)


CASE = Case(
    key="adpa",
    data="described-things?size=600&validation=100&test=200",
    model="describer",
    budget={},
    seeds=5,
    trials=2,
    tune_by="quality",
    baseline="dpo",
    measure=written,
    arms={
        "sft": Arm(method="sft", settings={**SAME, "lora_rank": 0}, tune=RATES),
        "dpo": Arm(method="dpo", settings=SAME, tune=RATES),
        "dckd": taught(form="dckd"),
        "adpa": taught(form="adpa"),
        "adpa+": taught(),
        "no-reference": taught(form="adpa", with_reference=False),
    },
    metrics=("quality", "accuracy", "chosen_logp", "clauses"),
    claims=(
        Claim.better(
            "the small model gains more from the teacher's advantage than from its own DPO",
            "adpa",
            "dpo",
            metric="quality",
        ),
        Claim.better(
            "and more than from the teacher's distributions on the given answers",
            "adpa",
            "dckd",
            metric="quality",
        ),
        Claim.better("those teach more than the chosen answers alone", "dckd", "sft", metric="quality"),
        Claim.better("DCKD before it helps (ADPA+)", "adpa+", "adpa", metric="quality"),
        Claim.better(
            "the teacher before its preference training is needed", "adpa", "no-reference", metric="quality"
        ),
    ),
    notes=(
        "a student of 40 thousand weights and a teacher of 150 thousand; the paper's are of 0.5 to 7 and of 7 to 8 billion",
        "the teacher is trained by DPO inside every run, on the same pairs",
    ),
)
