"""The case of unisd: a small model that adds well when shown the worked sum learns to add without being shown.

The pupil adds three-digit numbers poorly alone and almost perfectly with the worked sum in its prompt. It is distilled on new
sums, and measured on further sums alone and on sorting, which nothing here trains.
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

RATE = 5e-4
TRAINED = {"lora_rank": 0, "batch_size": 32}
SAMPLED = {**TRAINED, "max_new_tokens": 48, "template": "{demonstration}#{prompt}"}
DISTILLED = {**SAMPLED, "divergence": "forward", "temperature": 0.7}
UNISD = {
    **SAMPLED,
    "agreement.example": "{demonstration}",
    "agreement.retriever": "tfidf",
    "contrast.negatives": "other",
    "learning_rate": RATE,
}
RATES = {"learning_rate": [5e-4, 1e-3, 2e-3]}
NOISY = "worked-sums?size=2000&validation=100&test=200&corrupt=0.25"


def unisd(mode: str, **settings: Any) -> Arm:
    """One mechanism of UniSD at the shared learning rate."""
    return Arm(method="unisd", settings={**UNISD, "mode": mode, **settings}, tune={})


def noisy(arm: Arm) -> Arm:
    """The same arm, a quarter of whose demonstrations belong to other problems."""
    return Arm(method=arm.method, settings=arm.settings, tune=arm.tune, data=NOISY)


def without_rate(arm: Arm) -> dict[str, Any]:
    """An arm's settings but for the learning rate, which is tuned."""
    return {name: value for name, value in arm.settings.items() if name != "learning_rate"}


def retention(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """Perplexity and greedy accuracy on sorting: what must not be forgotten."""
    from counterpoint.data.language.problems import load
    from counterpoint.evaluation.language import greedy_accuracy, perplexity

    rows = getattr(load("worked-sorting?digits=5&size=1&validation=50&test=100"), split)
    return {
        "kept_perplexity": perplexity(model, rows),
        "kept_accuracy": greedy_accuracy(model, rows)["accuracy"],
    }


SDFT = Arm(method="sdft", settings={**DISTILLED, "teacher": "frozen", "learning_rate": RATE}, tune={})
TOKENS = unisd("agreement_tok_random", **{"agreement.gamma": 1.0})
CLIP = unisd("clip", **{"clip.quantile": 0.99})

CASE = Case(
    key="unisd",
    data="worked-sums?size=2000&validation=100&test=200",
    model="pupil",
    budget={"steps": 50},
    seeds=5,
    trials=3,
    baseline="sdft",
    arms={
        "raw": Arm(method="sft", settings={**TRAINED, "learning_rate": 0.0}, tune={}, budget={"steps": 1}),
        "sdft": SDFT,
        "sdft-student": Arm(
            method="sdft", settings={**DISTILLED, "teacher": "student", "learning_rate": RATE}, tune={}
        ),
        "ema": unisd("ema"),
        "agreement-tokens": TOKENS,
        "contrast": unisd("contrastive"),
        "match-joint": unisd("match_joint"),
        "clip": CLIP,
        "unisd-star": unisd("unisd_star"),
        "sft-tuned": Arm(method="sft", settings=TRAINED, tune=RATES),
        "gkd-tuned": Arm(method="gkd", settings=SAMPLED, tune=RATES),
        "sdft-tuned": Arm(method="sdft", settings=without_rate(SDFT), tune=RATES),
        "unisd-star-tuned": Arm(method="unisd", settings=without_rate(unisd("unisd_star")), tune=RATES),
        "sdft-noisy": noisy(SDFT),
        "agreement-tokens-noisy": noisy(TOKENS),
        "clip-noisy": noisy(CLIP),
    },
    metrics=("accuracy", "kept_perplexity", "kept_accuracy", "perplexity"),
    measure=retention,
    claims=(
        Claim.better("on-policy self-distillation raises accuracy without a demonstration", "sdft", "raw"),
        Claim.better("all mechanisms together beat plain self-distillation", "unisd-star", "sdft"),
        Claim.better("the EMA teacher beats the frozen one", "ema", "sdft"),
        Claim.better(
            "feature matching beside the divergence beats the divergence alone", "match-joint", "sdft"
        ),
        Claim.better("contrast beats the divergence alone", "contrast", "sdft"),
        Claim.better("tuned, UniSD* is more accurate than SDFT", "unisd-star-tuned", "sdft-tuned"),
        Claim.better("tuned, UniSD* is more accurate than GKD", "unisd-star-tuned", "gkd-tuned"),
        Claim.better(
            "tuned, UniSD* is more accurate than fine-tuning on the references",
            "unisd-star-tuned",
            "sft-tuned",
        ),
        Claim.better(
            "tuned, UniSD* forgets less than fine-tuning on the references (perplexity on sorting)",
            "sft-tuned",
            "unisd-star-tuned",
            metric="kept_perplexity",
        ),
        Claim.better("a teacher that is the student itself drifts", "sdft", "sdft-student"),
        Claim(
            text="with a quarter of the demonstrations wrong, token agreement loses less",
            contrast={"agreement-tokens-noisy": 1, "agreement-tokens": -1, "sdft-noisy": -1, "sdft": 1},
        ),
        Claim(
            text="with a quarter of the demonstrations wrong, clipping loses less",
            contrast={"clip-noisy": 1, "clip": -1, "sdft-noisy": -1, "sdft": 1},
        ),
    ),
    notes=(
        "a character model of 0.3 million weights, taught once; the seeds vary the order of the data and the sampling",
        "all weights are trained, 50 steps of 32 problems; the paper trains adapters on models of up to 7 billion weights",
        "the arms without 'tuned' in their name share one learning rate, so that only the mechanism differs between them; "
        "those with it choose theirs on validation accuracy, from the same range for every method",
        "agreement has gamma 1 (the authors' bare default) in the arms of its own and 0.001 in UniSD*; clipping is at the "
        "batch's 99th percentile, since no token here reaches the paper's 10; wrong demonstrations are other problems' "
        "solutions, for the pupil cannot be asked to write any",
        "a first run of this case, with three usable seeds, clipped at the 95th percentile: 0.41 against 0.57 without clipping on "
        "clean demonstrations, 0.45 against 0.42 on noisy ones; the percentile was raised and the tuning range widened upwards "
        "after it",
        "references are clean and in the pupil's own style, the best case for fine-tuning on them",
    ),
    earlier=(
        "a first version (10 claims, clipping at the 95th percentile; 2026-11-23) showed 3 of 10 claims; its evidence was "
        "taken back, because the starting model had changed during the run",
    ),
)
