"""The case of pu-distill: a tiny model that rates answers better than it writes them, and a teacher who is wrong three times in ten.

Imitating the teacher ends at the teacher's own quality; the student's own ranking, with the teacher's answer as its yardstick, can end
above it. The same first stage for every arm, then the same number of candidates.
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

STOCK = "counterpoint.tasks.stock.rater"
ANCHORED = {
    "rating.by": "given",
    "rating.ratings": "1 3",
    "rating.template": "{prompt}>{anchor}{candidate}?",
}
BY_ITSELF = {**ANCHORED, "rating.template": "{prompt}:{candidate}?"}
CHANCE = {"rating.judge": f"{STOCK}:chance"}
IMITATED = {"batch_size": 16, "lora_rank": 0}
RATES = {"learning_rate": [3e-4, 1e-3]}
IMITATION_RATES = {"learning_rate": [1e-3, 2e-3]}


def ranked(form: str, rating: dict[str, str], **settings: Any) -> Arm:
    """Imitation, then one form of preference on one way to rate; the second stage's learning rate is tuned."""
    return Arm(
        method="pu-distill",
        settings={
            **IMITATED, **rating, "form": form, "max_new_tokens": 2, "imitation.epochs": 12.0, "imitation.learning_rate": 2e-3,
            "iterations": 2, "epochs": 1.0, **settings,
        },
        tune=RATES,
    )  # fmt: skip


def imitated(epochs: float) -> Arm:
    """The teacher's answers alone."""
    return Arm(method="sft", settings={**IMITATED, "epochs": epochs}, tune=IMITATION_RATES)


def sampled(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """How likely an answer sampled at temperature 1 is to be right, over the problems' mean."""
    from counterpoint.models.language.likelihood import sequence_log_probs

    rows = getattr(data, split)
    right, _ = sequence_log_probs(
        model, [row.prompt for row in rows], [row.answer for row in rows], at_once=128
    )
    return {"sampled": float(right.exp().mean())}


CASE = Case(
    key="pu-distill",
    data="letter-pairs?size=600&wrong=0.3&validation=100&test=300",
    model="rater",
    budget={},
    seeds=5,
    trials=2,
    tune_by="sampled",
    baseline="sft",
    arms={
        "sft": imitated(12.0),
        "sft-long": imitated(24.0),
        "grpo": ranked("grpo", ANCHORED),
        "grpo-by-itself": ranked("grpo", BY_ITSELF),
        "dpo": ranked("dpo", ANCHORED),
        "dpo-by-itself": ranked("dpo", BY_ITSELF),
        "oracle": ranked("grpo", {"rating.judge": "verifier"}),
        "chance": ranked("grpo", CHANCE),
        "chance-uniform": ranked("grpo", CHANCE, **{"preference.advantage": "uniform"}),
    },
    metrics=("sampled", "accuracy"),
    measure=sampled,
    claims=(
        Claim.better(
            "LDL-GRPO on the student's own ranking beats imitation", "grpo", "sft", metric="sampled"
        ),
        Claim.better("so it does of twice as much imitation", "grpo", "sft-long", metric="sampled"),
        Claim(
            text="sampled answers become better than the teacher's, of which three in four are right",
            contrast={"grpo": 1.0},
            metric="sampled",
            above=0.75,
        ),
        Claim.better("DPO on pairs of the same ranking beats imitation", "dpo", "sft", metric="sampled"),
        Claim.better("rating by the anchor beats rating without", "grpo", "grpo-by-itself", metric="sampled"),
        Claim.better("under DPO, too", "dpo", "dpo-by-itself", metric="sampled"),
        Claim.better("scores that say nothing do harm", "sft", "chance", metric="sampled"),
        Claim.better("right scores are better than the student's", "oracle", "grpo", metric="sampled"),
    ),
    notes=(
        "a character model of 0.1 million weights, taught once; the seeds vary order and sampling; the paper's text could not be read, so "
        "that its models and figures are unknown",
        "`sampled` is the probability of the right answer at temperature 1, `accuracy` the greedy one, which imitation brings near 1 by "
        "itself, since the teacher's mistakes have no pattern: the claims are about sampled answers",
        "the judge is the student as it came, before imitation",
        "every arm's learning rate is the better of two by `sampled` on validation: of the ranked arms that of the second stage, after "
        "twelve epochs of imitation at 0.002; a ranked arm then takes 76 steps of 16 prompts with 8 candidates each",
        "before the claims were written, one other seed of most arms was tried for sizes that take seconds and for a judge that has learnt "
        "to rate; with a judge of half the training (area under the curve 0.81 instead of 0.97), ranking lost what imitation had gained",
    ),
)
