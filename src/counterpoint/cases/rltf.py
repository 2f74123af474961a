"""The case of rltf: a tiny model that guesses letters, and knows the right one when a critique names the letter before it.

Alone it is right once in ten; after a critique nearly always. What makes its *first* answer right within a few steps of few prompts
is compared: the reward alone, both turns' rewards, the second answer learnt as a first one, the critique predicted.
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

STOCK = "counterpoint.tasks.stock.guesser"
SMALL = {"lora_rank": 0, "batch_size": 2, "max_new_tokens": 2}
RATES = {"learning_rate": [1e-3, 2e-3, 3e-3, 5e-3]}
TURNS = {
    **SMALL,
    "answers": 4,
    "feedback": f"{STOCK}:critique",
    "template": "{attempt}#{prompt}{feedback}",
    "critique_template": "{attempt}?{prompt}",
}


def rltf(**settings: Any) -> Arm:
    """One form of RLTF, its learning rate chosen on validation."""
    return Arm(method="rltf", settings={**TURNS, **settings}, tune=RATES)


def criticised(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """Greedy accuracy after one round of the model's own critique, and what that round gains."""
    from counterpoint.generation.sampler import Sampler
    from counterpoint.generation.samplers import Own
    from counterpoint.generation.self_critique import answer_in_rounds

    rows = list(getattr(data, split))
    wording = {name: str(TURNS[name]) for name in ("template", "critique_template")}
    sampler = Own(model, Sampler(max_new_tokens=3, temperature=0.0))
    answers = answer_in_rounds(sampler, [row.prompt for row in rows], 1, **wording)
    before, after = (
        sum(each[turn] == row.answer for each, row in zip(answers, rows)) / len(rows) for turn in range(2)
    )
    return {"criticised_accuracy": after, "critique_gain": after - before}


CASE = Case(
    key="rltf",
    data="next-letter?size=600&validation=100&test=200",
    model="guesser",
    budget={"steps": 12},
    seeds=5,
    trials=4,
    tuning_seeds=2,
    baseline="grpo",
    arms={
        "raw": Arm(
            method="sft",
            settings={"lora_rank": 0, "batch_size": 2, "learning_rate": 0.0},
            tune={},
            budget={"steps": 1},
        ),
        "grpo": Arm(method="grpo", settings={**SMALL, "variant": "dr_grpo", "answers": 8}, tune=RATES),
        "multi": rltf(mode="multi"),
        "sd": rltf(mode="sd"),
        "sd-second-turn": rltf(mode="sd", **{"distillation.baseline": "second_turn"}),
        "sd-succeeded": rltf(mode="sd", **{"distillation.baseline": "none"}),
        "sd-only-wrong": rltf(mode="sd", feedback=f"{STOCK}:only_wrong"),
        "fm": rltf(mode="fm"),
    },
    metrics=("accuracy", "criticised_accuracy", "critique_gain"),
    measure=criticised,
    claims=(
        Claim.better(
            "RLTF-SD makes first answers more accurate than GRPO on first answers alone", "sd", "grpo"
        ),
        Claim.better(
            "RLTF-SD makes first answers more accurate than reinforcement of both turns", "sd", "multi"
        ),
        Claim.better(
            "RLTF-FM makes first answers more accurate than reinforcement of both turns", "fm", "multi"
        ),
        Claim.better(
            "the first turn's mean is a better baseline than the second turn's", "sd", "sd-second-turn"
        ),
        Claim.better("a baseline is better than learning from what succeeded", "sd", "sd-succeeded"),
        Claim.better("a critique teaches more than the word that the answer is wrong", "sd", "sd-only-wrong"),
        Claim.better(
            "after feedback modelling a round of self-critique is more accurate than after reinforcement of both turns",
            "fm",
            "multi",
            metric="criticised_accuracy",
        ),
    ),
    notes=(
        "a character model of 70 thousand weights, taught anew for every seed; all weights are trained, 12 steps of 2 prompts; the "
        "paper trains adapters on a model of 8 billion weights with 32 prompts and 8 rollouts",
        "GRPO (Dr. GRPO's constant average and advantage without deviation) samples 8 answers a prompt, the others 4 and up to 4 second "
        "ones: no arm samples more than GRPO",
        "the critique names the letter before the right one: nearly perfect feedback, after which the model is right almost always",
        "every arm but the raw model chose its learning rate from the same four on two further seeds' validation accuracy",
        "prompts of the test split are new, their ten letters are not",
    ),
)
