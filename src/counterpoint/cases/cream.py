"""The case of cream: self-rewarding damages a model that is unsure of its answers; agreement over rounds protects it.

A small transformer that learnt backward sums from a teacher with 35 % mistakes learns 200 clean ones and then trains for
three rounds on its own ranking of its own answers.
"""

from __future__ import annotations

from counterpoint.study.case import Arm, Case, Claim

SHARED = {
    "answers": 5,
    "temperature": 1.2,
    "top_p": 1.0,
    "max_new_tokens": 5,
    "beta": 0.3,
    "batch_size": 32,
    "seed_examples": 200,
    "sft_epochs": 9.0,
    "sft_learning_rate": 5e-4,
}
SAME = {**SHARED, "learning_rate": 2e-5}
RATES = {"learning_rate": [3e-6, 1e-5, 3e-5]}

CASE = Case(
    key="cream",
    data="backward-sums?digits=2&size=1736&validation=200&test=600",
    model="adder",
    budget={},
    seeds=10,
    trials=3,
    baseline="self-rewarding",
    arms={
        "seed-only": Arm(method="cream", settings={**SAME, "rounds": 0}, tune={}),
        "self-rewarding": Arm(method="self-rewarding", settings=SAME, tune={}),
        "cream": Arm(method="cream", settings=SAME, tune={}),
        "cream-sample": Arm(method="cream", settings={**SAME, "weight": "sample"}, tune={}),
        "oracle": Arm(method="self-rewarding", settings={**SAME, "judge": "verifier"}, tune={}),
        "self-rewarding-tuned": Arm(method="self-rewarding", settings=SHARED, tune=RATES),
        "cream-sample-tuned": Arm(method="cream", settings={**SHARED, "weight": "sample"}, tune=RATES),
    },
    metrics=("accuracy", "perplexity"),
    claims=(
        Claim.better(
            "with its own reward as labeller the model gets worse than it started",
            "seed-only",
            "self-rewarding",
        ),
        Claim.better(
            "same settings, the round's mean agreement as weight loses less (the paper's method)",
            "cream",
            "self-rewarding",
        ),
        Claim.better(
            "same settings, each prompt's own agreement as weight loses less",
            "cream-sample",
            "self-rewarding",
        ),
        Claim.better(
            "the labels are at fault, not the loss: with right labels nothing is lost",
            "oracle",
            "self-rewarding",
        ),
        Claim.better(
            "learning rate tuned for both, CREAM is still ahead",
            "cream-sample-tuned",
            "self-rewarding-tuned",
        ),
    ),
    notes=(
        "a model of 47 thousand weights and 512 prompts a round; the paper's are of 7 and 8 billion weights and 7,000 prompts",
        "arms with the same settings show what self-rewarding does and what the weight prevents; only the tuned ones may be "
        "compared as methods, and a tuned learning rate protects by itself",
        "what the paper reports and this size does not show is a gain over the model before the rounds",
    ),
    earlier=(
        "two earlier versions (five seeds; 2026-11-23) showed the same 3 of 5 claims; more seeds were then added",
    ),
)
