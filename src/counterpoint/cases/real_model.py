"""A study on a real model: SmolLM2-135M-Instruct learns to do without worked lines what it can do with them.

Of "8 + 6 =" the model makes little; after four worked lines it gives the right number most of the time. Seven methods
have the same steps and the same number of completions in each to close that gap; who closes how much of it, and what is forgotten?
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

WORKED = "4 + 3 = 7\nmax(25, 71) = 71\n3 x 5 = 15\n"
SHOWN = "{demonstration}\n" + WORKED + "{prompt}"
RATES = {"learning_rate": [1e-3, 3e-3]}
TRAINED = {"lora_rank": 8, "adapter.dropout": 0.0}
SAMPLED = {**TRAINED, "max_new_tokens": 3, "temperature": 1.0}
GROUPS = {**SAMPLED, "batch_size": 2, "answers": 4}
WITH_EXAMPLES = 16
"""Test lines that are answered with worked lines before them, too."""
OTHER_TEXT = (
    ("The old lighthouse stood at the end of the pier.", " At night its lamp could be seen from far out at sea."),
    ("To make tea, boil fresh water", " and pour it over the leaves. Let them steep for a few minutes before you drink."),
    ("My grandmother kept a small garden behind the house.", " Every spring she planted tomatoes, beans and a row of sunflowers."),
    ("Plants need light to grow,", " because they use its energy to turn water and carbon dioxide into sugar."),
    ("The train was late again,", " so we sat on a bench and watched the rain fall on the empty tracks."),
    ("A good friend is somebody", " who listens to you, tells you the truth and is there when you need help."),
    ("The committee will meet on Tuesday", " to discuss the new budget and to vote on the plans for the library."),
    ("When the music stopped,", " everyone in the room turned around and looked at the door."),
)  # fmt: skip


def forgetting(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """Perplexity of everyday English, which nothing here trains; on the test split, accuracy after worked lines."""
    from dataclasses import replace

    from counterpoint.data.language.problem import Problem
    from counterpoint.data.language.problems import Problems
    from counterpoint.evaluation.language import greedy_accuracy, perplexity
    from counterpoint.pairs.privileged import with_information

    texts = Problems([Problem(before, solution=after) for before, after in OTHER_TEXT], "exact")
    figures = {"other_text_perplexity": perplexity(model, texts)}
    if split == "test":
        rows = getattr(data, split)
        worked = [
            replace(row, prompt=with_information(row.prompt, row.hint, "{information}\n{prompt}"))
            for row in rows[:WITH_EXAMPLES]
        ]
        shown = greedy_accuracy(model, Problems(worked, rows.scorer), max_new_tokens=3)
        figures["accuracy_with_examples"] = shown["accuracy"]
    return figures


def tuned(method: str, settings: dict[str, Any]) -> Arm:
    """An arm whose learning rate is chosen on validation."""
    return Arm(method=method, settings=settings, tune=RATES)


def beats_start(what: str, arm: str) -> Claim:
    """A method raises accuracy without worked lines."""
    return Claim.better(what, arm, "start", unequal="the model as it is has nothing to tune")


CASE = Case(
    key="real-model",
    data="number-lines?size=160&validation=24&test=60",
    data_options={"format": "text"},
    model="smollm2-135m-instruct",
    budget={"steps": 10},
    seeds=3,
    trials=2,
    baseline="sft",
    reply_tokens=3,
    arms={
        "start": Arm(method="sft", settings={**TRAINED, "learning_rate": 0.0}, tune={}, budget={"steps": 1}),
        "sft": tuned("sft", {**TRAINED, "batch_size": 8}),
        "sdft": tuned(
            "sdft",
            {**SAMPLED, "batch_size": 8, "divergence": "forward", "teacher": "frozen", "template": SHOWN},
        ),
        "unisd": tuned(
            "unisd",
            {
                **SAMPLED,
                "batch_size": 8,
                "template": SHOWN,
                "agreement.num_contexts": 2,
                "agreement.retriever": "tfidf",
                "agreement.example": "{prompt}{demonstration}",
                "contrast.negatives": "other",
            },
        ),
        "opsd": tuned(
            "pi-distill",
            {
                **GROUPS,
                "objective": "opsd",
                "steps": 1,
                "kl.beta": 0.5,
                "information.template": "{information}\n{prompt}",
            },
        ),
        "rltf-sd": tuned("rltf", {**GROUPS, "feedback": "hint", "template": "{feedback}\n{prompt}"}),
        "grpo": tuned("grpo", {**GROUPS, "variant": "dapo", "penalty.weight": 0.0}),
    },
    metrics=("accuracy", "accuracy_with_examples", "other_text_perplexity"),
    measure=forgetting,
    claims=(
        beats_start("fine-tuning on the references raises accuracy without worked lines", "sft"),
        beats_start("so does SDFT, which is shown the reference and three worked lines", "sdft"),
        beats_start("so does UniSD*, all its mechanisms together", "unisd"),
        beats_start("so does OPSD, which is shown four worked lines and gets rewards", "opsd"),
        beats_start("so does RLTF-SD, whose feedback is four worked lines", "rltf-sd"),
        beats_start("so does GRPO, from rewards alone", "grpo"),
        Claim.better("SDFT is more accurate than GRPO after as many completions", "sdft", "grpo"),
        Claim.better("SDFT forgets less than SFT (perplexity of other text)", "sft", "sdft", metric="other_text_perplexity"),
    ),
    notes=(
        "SmolLM2-135M-Instruct, adapters of rank 8 without dropout, 10 steps of 8 completions of at most 3 tokens; grpo, opsd and "
        "rltf-sd take 2 prompts with 4 completions each",
        "every arm chooses its learning rate from the same two values on 24 validation lines; everything else was set before the "
        "first run",
        "the lines are the same for every seed, which varies adapters, order and sampling; 3 seeds give wide intervals",
        "OPSD and RLTF-SD are shown worked lines, not the reference; SDFT and UniSD, by their papers, the reference, too; SFT has "
        "the references, GRPO nothing but rewards",
        f"accuracy with examples is of {WITH_EXAMPLES} test lines, each after four worked ones; other text is {len(OTHER_TEXT)} "
        "everyday sentences",
    ),
    earlier=(
        "a first version (12 steps, 36 validation and 96 test lines, one context for UniSD's agreement) was stopped while it was "
        "tuned, because agreement needs two contexts; seen until then: validation accuracy 0.47 and 0.58 of SFT, 0.31 and 0.36 of SDFT",
    ),
)  # fmt: skip
