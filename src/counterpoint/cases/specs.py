"""The case of specs: what a cold start on one form does to other forms, by likelihood, by preference, and by both.

A tiny model writes sums in two tags that the prompt names, six times in ten in a wrong form. It learns the form of one pair of tags from
its own right answers; measured is the form with that pair and with pairs that it did not train on (other pairs in tuning than in the test).
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

SHARED: dict[str, Any] = {
    "tags": "a b",
    "answers": 8,
    "rejected_from": "chosen",
    "batch_size": 16,
    "epochs": 1.0,
    "source.max_new_tokens": 32,
    "watch.others": "c d; e f; g h; i j",
}
RATES = {"learning_rate": [1e-4, 3e-4, 1e-3]}
UNSEEN = {"validation": ("c d", "e f"), "test": ("g h", "i j")}


def weights(preference: float, sft: float) -> Arm:
    """The two terms with these weights, the learning rate tuned."""
    return Arm(
        method="specs", settings={**SHARED, "preference_weight": preference, "sft_weight": sft}, tune=RATES
    )


def forms(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """Format accuracy with the trained tags and with others, its gains over the model at the start, and their factor."""
    from counterpoint.data.language.tagged import Tags
    from counterpoint.evaluation.generalization import format_accuracy, generalization_factor
    from counterpoint.tasks.stock import tagger

    trained, prompts = Tags.of("a b"), [row.prompt for row in getattr(data, split)]
    others = [Tags.of(names) for names in UNSEEN[split]]

    def accuracies(each: Any) -> tuple[float, float]:
        inside = format_accuracy(each, prompts, trained, max_new_tokens=32, seed=seed)
        new = [
            format_accuracy(
                each, [trained.renamed(p, other) for p in prompts], other, max_new_tokens=32, seed=seed
            )
            for other in others
        ]
        return 100 * inside, 100 * sum(new) / len(new)

    before, after = accuracies(tagger.load().to(model.device)), accuracies(model)
    gains = [late - early for late, early in zip(after, before)]
    return {
        "trained_tags": after[0],
        "other_tags": after[1],
        "gain_trained": gains[0],
        "gain_others": gains[1],
        "factor": generalization_factor(gains[0], gains[1]),
    }


CASE = Case(
    key="specs",
    data="tagged-sums?size=400&validation=100&test=200",
    model="tagger",
    budget={},
    seeds=5,
    trials=3,
    tune_by="factor",
    baseline="sft",
    arms={"sft": weights(0.0, 1.0), "dpo": weights(1.0, 0.0), "both": weights(1.0, 1.0)},
    metrics=("factor", "trained_tags", "other_tags", "gain_trained", "gain_others", "accuracy"),
    measure=forms,
    claims=(
        Claim(
            text="preference and likelihood together give the form of the trained tags (20 points)",
            contrast={"both": 1.0},
            metric="gain_trained",
            above=20.0,
        ),
        Claim(
            text="and it reaches tags that were not trained on (5 points)",
            contrast={"both": 1.0},
            metric="gain_others",
            above=5.0,
        ),
        Claim.better("both generalise further than likelihood alone", "both", "sft", metric="factor"),
        Claim.better("both generalise further than preference alone", "both", "dpo", metric="factor"),
    ),
    notes=(
        "a model of a hundred thousand weights in a made-up world of ten tag names; the paper's has 7 billion and sees images. Tuned on "
        "two pairs of tag names, measured on two others; chosen answers are the model's own right ones, put into the form, and rejected "
        "ones the same with the form spoilt",
        "in an earlier study of ours of such a world (two seeds) both led likelihood alone by 2 to 3 points of the factor, within noise, and "
        "preference alone lost the form in most runs; no order of the first two is expected",
    ),
)
