"""The case of dpo: a small model that describes things with mistakes, and pairs of which the description with more right facts is better.

What is written afterwards is counted: right facts less wrong ones, of four. Lengths of the answers of a pair differ by a clause at most.
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

SAME: dict[str, Any] = {"batch_size": 16, "epochs": 2.0}
RATES = {"learning_rate": [1e-3, 3e-3]}


def written(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """Of one sampled description a prompt: its quality from -4 to 4, clauses, and the share of distinct descriptions' forms."""
    from counterpoint.data.language.described import quality
    from counterpoint.generation.sampler import Sampler, row_draws

    prompts = list(dict.fromkeys(row.prompt for row in getattr(data, split).rows))
    how = Sampler(max_new_tokens=48, temperature=1.0)
    sampled = how(model, model.prompts(prompts), row_draws(seed, range(len(prompts)), 48))
    texts = model.texts(sampled)
    return {
        "quality": sum(quality(p, text) for p, text in zip(prompts, texts)) / len(texts),
        "clauses": sum(text.count(",") + 1 for text in texts) / len(texts),
    }


CASE = Case(
    key="dpo",
    kind="preferences",
    data="described-things?size=600&validation=100&test=200",
    model="describer",
    budget={},
    seeds=5,
    trials=2,
    tune_by="accuracy",
    baseline="sft",
    measure=written,
    arms={
        "sft": Arm(method="sft", settings={**SAME, "lora_rank": 0}, tune=RATES),
        "dpo": Arm(method="dpo", settings=SAME, tune=RATES),
        "rpo": Arm(method="dpo", settings={**SAME, "loss": "rpo"}, tune=RATES),
        "offset": Arm(method="dpo", settings={**SAME, "graded.offset": 0.3}, tune=RATES),
    },
    metrics=("quality", "accuracy", "chosen_logp", "rejected_logp", "clauses"),
    claims=(
        Claim.better(
            "pairs teach more than the chosen answers alone: held-out pairs are ranked better", "dpo", "sft"
        ),
        Claim.better("and more right facts are written", "dpo", "sft", metric="quality"),
        Claim.better(
            "the chosen answer's likelihood beside the loss keeps it likely",
            "rpo",
            "dpo",
            metric="chosen_logp",
        ),
        Claim.better(
            "DPO makes the chosen answers less likely than learning them does",
            "sft",
            "dpo",
            metric="chosen_logp",
        ),
        Claim.better(
            "how much better an answer is helps to write right facts", "offset", "dpo", metric="quality"
        ),
    ),
    notes=("a model of 40 thousand weights and 300 pairs, whose answers are about equally long",),
)
