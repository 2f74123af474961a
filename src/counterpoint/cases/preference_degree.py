"""The case of preference-degree: pairs of descriptions, of which the one with more right facts is better, and what is written afterwards.

A small model describes things with facts left out and wrong. The facts are the key content; the controls shuffle the degrees, and
remove any words. Answers of a pair are about equally long.
"""

from __future__ import annotations

from typing import Any

from counterpoint.cases.dpo import written
from counterpoint.study.case import Arm, Case, Claim

SAME: dict[str, Any] = {"batch_size": 16, "epochs": 2.0}
RATES = {"learning_rate": [1e-3, 3e-3]}


def degree(name: str = "preference-degree", **settings: Any) -> Arm:
    """Preference degrees with some settings."""
    chosen = {f"degree.{key}": value for key, value in settings.items()}
    return Arm(method=name, settings={**SAME, "degree.sampled": 2, **chosen}, tune=RATES)


def figures(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """What is written, counted; and how the implicit reward falls with the degree of held-out answers (Spearman)."""
    import torch
    from scipy.stats import spearmanr

    from counterpoint.models.language.likelihood import sequence_log_probs
    from counterpoint.pairs.key_content import variants
    from counterpoint.pairs.key_extractors import Rake, stop_words
    from counterpoint.tasks.stock import describer

    find, rows = Rake(stop_words()), getattr(data, split).rows[:60]
    made = [(r.prompt, v) for r in rows for v in variants(r.chosen, find(r.prompt, r.chosen), 4)]
    prompts, texts = [prompt for prompt, _ in made], [each.text for _, each in made]
    with torch.no_grad():
        own, start = (
            sequence_log_probs(each, prompts, texts)[0] for each in (model, describer.load("describer"))
        )
    order = spearmanr((own - start).tolist(), [-each.degree for _, each in made]).statistic
    return {**written(model, data, split, seed, report), "reward_by_degree": float(order)}


CASE = Case(
    key="preference-degree",
    data="described-things?size=600&validation=100&test=200",
    model="describer",
    budget={},
    seeds=5,
    trials=2,
    tune_by="accuracy",
    baseline="dpo",
    measure=figures,
    arms={
        "sft": Arm(method="sft", settings={**SAME, "lora_rank": 0}, tune=RATES),
        "dpo": Arm(method="dpo", settings=SAME, tune=RATES),
        "degree": degree(),
        "shuffled": degree(shuffled=True),
        "random": degree(extractor="random"),
    },
    metrics=("accuracy", "quality", "reward_by_degree", "chosen_logp", "clauses"),
    claims=(
        Claim.better("recognising degrees helps to rank held-out pairs, beside DPO alone", "degree", "dpo"),
        Claim.better(
            "what is written afterwards has more right facts and fewer wrong ones",
            "degree",
            "dpo",
            metric="quality",
        ),
        Claim.better(
            "the reward falls with the degree more clearly than DPO's",
            "degree",
            "dpo",
            metric="reward_by_degree",
        ),
        Claim.better("it is the degree that matters: shuffled degrees rank worse", "degree", "shuffled"),
        Claim.better("it is key content that matters: random spans rank worse", "degree", "random"),
        Claim.better("DPO ranks held-out pairs better than learning the chosen answers", "dpo", "sft"),
        Claim.better("and writes more right facts", "dpo", "sft", metric="quality"),
    ),
    notes=(
        "a model of 40 thousand weights and 300 pairs; what the paper measured is not known, its abstract claims gains on two data sets",
        "all seeds have one data set and one starting model; they differ in order, in what is drawn and in the module's steps",
    ),
)
