"""The case of pi-distill: letters that the model sorts by luck alone, and half of the time with a hint in its prompt.

One permutation of seven letters in 5,040 is right, so reward alone has nothing to climb for long. With all but two letters given
every second completion is right. Who learns to sort without the hint, from as many completions?
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

RATES = {"learning_rate": [2e-4, 5e-4]}
TEMPLATE = "{information}#{prompt}"
SAMPLED = {"answers": 5, "temperature": 1.0, "max_new_tokens": 8, "batch_size": 32, "lora_rank": 0}
HINTED = {**SAMPLED, "information.template": TEMPLATE, "steps": 3, "anneal": 0}


def hinted(**settings: Any) -> Arm:
    """The method with some settings, its learning rate tuned."""
    return Arm(method="pi-distill", settings={**HINTED, **settings}, tune=RATES)


def with_hint(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """Greedy accuracy of the same model when it is shown the hint."""
    from dataclasses import replace

    from counterpoint.data.language.problems import Problems
    from counterpoint.evaluation.language import greedy_accuracy
    from counterpoint.pairs.privileged import with_information

    rows = getattr(data, split)
    shown = [replace(row, prompt=with_information(row.prompt, row.hint, TEMPLATE)) for row in rows]
    return {"accuracy_with_hint": greedy_accuracy(model, Problems(shown, rows.scorer))["accuracy"]}


CASE = Case(
    key="pi-distill",
    data="hinted-sorting?digits=7&size=1000&validation=100&test=200",
    model="shuffler",
    budget={"steps": 40},
    seeds=5,
    trials=2,
    baseline="rl",
    arms={
        "rl": Arm(
            method="grpo",
            settings={
                **SAMPLED, "variant": "bnpo", "advantage": "none", "minibatches": 3, "penalty.weight": 0.0,
            },
            tune=RATES,
        ),
        "imitation": hinted(objective="imitation"),
        "opsd": hinted(objective="opsd", **{"kl.beta": 0.05}),
        "opsd-frozen": hinted(objective="opsd", **{"kl.beta": 0.05, "kl.reference": "frozen"}),
        "alpha-0": hinted(alpha=0.0),
        "alpha-half": hinted(alpha=0.5),
        "alpha-1": hinted(alpha=1.0),
        "alpha-1-free": hinted(alpha=1.0, **{"kl.beta": 0.0}),
    },
    metrics=("accuracy", "accuracy_with_hint", "perplexity"),
    measure=with_hint,
    claims=(
        Claim.better("OPSD learns where reward alone does not", "opsd", "rl"),
        Claim.better("pi-Distill with alpha 1/2 learns where reward alone does not", "alpha-half", "rl"),
        Claim.better("so does the student's term alone (alpha 0)", "alpha-0", "rl"),
        Claim.better("so does the teacher's term alone (alpha 1), through the shared weights", "alpha-1", "rl"),
        Claim.better("joint training beats the student's term alone", "alpha-half", "alpha-0"),
        Claim.better("joint training beats the teacher's term alone", "alpha-half", "alpha-1"),
        Claim.better(
            "without the KL the teacher alone (alpha 1) takes the student along less far", "alpha-1", "alpha-1-free"
        ),
        Claim.better("OPSD's teacher is better now than frozen", "opsd", "opsd-frozen"),
        Claim.better(
            "joint training beats fine-tuning on the teacher's rewarded completions", "alpha-half", "imitation"
        ),
    ),
    notes=(
        "a character model of 0.1 million weights, taught once; the seeds vary the order of the data and the sampling. Every arm "
        "sees 40 rounds of 32 prompts with 5 completions each, and takes 3 steps on each round",
        "each arm's learning rate is chosen on validation accuracy from the same two values; beta is the paper's 0.25 for "
        "pi-Distill and 0.05 for OPSD, because with 0.5 and 0.1 in trials before this case the shared weights gave in to the KL and "
        "both views unlearnt the task",
        "alpha is not annealed in 40 rounds",
        "imitation is of completions that were right, which are all there is to learn here; in the paper's tasks the teacher's "
        "completions lack what it thought",
    ),
)  # fmt: skip
