"""Train the language methods for a few steps; torchrun may start several processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import quick_prover
from counterpoint.methods.catalog import load, row
from counterpoint.models.language.characters import tiny, tiny_encoder_decoder
from counterpoint.tasks.stock.mixture import experts
from counterpoint.tasks.stock.reader import untaught
from counterpoint.tasks.task import task
from ranks_harness import Weights, report, short_run

SUMS = "worked-sums?size=24&validation=2&test=2&digits=2"
SMALL: dict[str, Any] = {"batch_size": 5, "lora_rank": 0, "learning_rate": 1e-3}
SAMPLED = {**SMALL, "max_new_tokens": 4}
STYLES = "styled-letters?size=24&validation=2&test=2&digits=2"
HINTED = {
    **SAMPLED, "information.source": "solution", "information.template": "{information}#{prompt}",
    "answers": 3, "steps": 2, "judge": "majority",
}  # fmt: skip
ROUNDS: dict[str, Any] = {
    "rounds": 1, "answers": 4, "top_p": 1.0, "max_new_tokens": 4, "learning_rate": 1e-3, "batch_size": 5,
    "sft_epochs": 2.0, "epochs": 1.0, "sft_learning_rate": 3e-3, "seed_examples": 16,
}  # fmt: skip
TWO = "{image}{question}={answer}:{other_image}{other_question}={other_answer}:"
PROVING: dict[str, Any] = {**quick_prover.SETTINGS, "rounds": 2}
TAUGHT = "second-largest?size=13&digits=3&validation=2&test=2"
# Without a moment's normalisation, which turns the rounding of a gradient near 0 into a whole step.
RATIONALES: dict[str, Any] = {"batch_size": 5, "learning_rate": 0.1, "optimizer": {"name": "sgd"}}
RANKED: dict[str, Any] = {
    **SAMPLED, "answers": 3, "iterations": 2, "rating.template": "{anchor}:{candidate}?", "imitation.batch_size": 5,
}  # fmt: skip
METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "unisd": (
        "unisd",
        SUMS,
        {**SAMPLED, "mode": "unisd_star", "agreement.retriever": "tfidf", "contrast.negatives": "other"},
    ),
    "sdft": ("sdft", SUMS, SAMPLED),
    "gkd": ("gkd", SUMS, SAMPLED),
    "rltf": (
        "rltf",
        SUMS,
        {
            **SAMPLED,
            "judge": "majority",
            "feedback": "counterpoint.tasks.stock.guesser:only_wrong",
            "answers": 3,
            "template": "{attempt}:{feedback}#{prompt}",
            "distillation.unlikely": 8.0,
        },
    ),
    "pu-distill": ("pu-distill", SUMS, RANKED),
    "pu-distill-pairs": ("pu-distill", SUMS, {**RANKED, "form": "dpo"}),
    "sft": ("sft", SUMS, SMALL),
    "grpo": (
        "grpo",
        SUMS,
        {
            **SAMPLED,
            "judge": "majority",
            "answers": 3,
            "iterations": 2,
            "minibatches": 2,
            "entropy.share": 0.5,
            "resample": 2,
        },
    ),
    "reinforce": ("grpo", SUMS, {**SAMPLED, "judge": "majority", "answers": 3, "variant": "reinforce"}),
    "pi-distill": ("pi-distill", SUMS, {**HINTED, "anneal": 2}),
    "logs": ("user-interactions", STYLES, {**SMALL, "hindsight.ignore_first": 0}),
    "user": (
        "user-interactions",
        STYLES,
        {**SAMPLED, "form": "online", "user.function": "counterpoint.cases.user_interactions:capitals"},
    ),
    "opsd": ("pi-distill", SUMS, {**HINTED, "objective": "opsd"}),
    "sgs": ("sgs", "targets", PROVING),
    "sgs-cispo": ("sgs", "targets", {**PROVING, "solver.objective": "cispo", "batch_size": 8}),
    "cream": ("cream", "backward-sums?digits=1&size=40&validation=4&test=4", ROUNDS),
    "self-rewarding": ("self-rewarding", "backward-sums?digits=1&size=40&validation=4&test=4", ROUNDS),
    "online loop": (
        "suboptimal-onpolicy",
        SUMS,
        {
            **SAMPLED,
            "loss": "ppo",
            "judge": "majority",
            "answers": 3,
            "minibatches": 2,
            "watched": 2,
            "policy.kl": 0.1,
        },
    ),
    "offline loop": (
        "suboptimal-onpolicy",
        SUMS,
        {**SAMPLED, "loss": "dpo", "sampling": "offline", "judge": "majority", "answers": 3},
    ),
    "qcrd": (
        "qcrd",
        TAUGHT,
        {**RATIONALES, "epochs": 2.0, "max_new_tokens": 4, "negatives": {"back": 1}, "judge": {"steps": 2}},
    ),
    "step-by-step": ("step-by-step", TAUGHT, RATIONALES),
    "prompt-spo": (
        "prompt-spo",
        SUMS,
        {
            "rounds": 3,
            "prompt": "once plain chatty",
            "max_new_tokens": 4,
            "proposer": "counterpoint.tasks.stock.follower:propose",
            "voter": "counterpoint.tasks.stock.follower:coin",
        },
    ),
    "spar": (
        "spar",
        "copied-letters?size=21&validation=2&test=2",
        {
            "rounds": 1,
            "answers": 2,
            "max_new_tokens": 4,
            "batch_size": 5,
            "epochs": 2.0,
            "learning_rate": 1e-3,
            "judge": "verifier",
            "refiner": "counterpoint.tasks.stock.copier:minimal",
        },
    ),
    "specs": (
        "specs",
        "tagged-sums?size=21&validation=4&test=2",
        {
            "tags": "a b",
            "batch_size": 5,
            "epochs": 2.0,
            "learning_rate": 1e-3,
            "answers": 2,
            "rejected_from": "chosen",
            "judge": "format:.+",
            "source.max_new_tokens": 6,
            "watch.every": 3,
            "watch.rows": 4,
        },
    ),
    "vc-star": (
        "vc-star",
        "digit-questions?size=37&validation=6&test=6",
        {
            "keep": "easy,median,hard",
            "judge": "format:.*[a-m]",
            "max_new_tokens": 4,
            "rethinker.max_new_tokens": 4,
            "batch_size": 5,
            "epochs": 1.0,
            "learning_rate": 1e-3,
            "pairing": {
                "image_encoder": "pixels",
                "question_encoder": "tfidf",
                "image_limit": 1.5,
                "question_limit": 1.5,
            },
            "wording": {
                "hint": "{question}={answer}:",
                "alike": TWO,
                "unlike": TWO,
                "rethink": "{rationale}?",
            },
        },
    ),
    "scmoe": ("scmoe", SUMS, {"weak": "rank-3"}),
    "dola": ("dola", SUMS, {}),
    "contrastive-decoding": ("contrastive-decoding", SUMS, {"amateur": "characters"}),
    "selm": (
        "selm",
        "paired:backward-sums?digits=1&size=40&validation=4&test=4",
        {**SAMPLED, "rounds": 2, "alpha": 0.1, "judge": "format:[0-9]"},
    ),
    "reward": (
        "reward",
        "paired:backward-sums?digits=1&size=40&validation=4&test=4",
        {**SMALL, "epochs": 1.0},
    ),
    "preference-degree": (
        "preference-degree",
        "described-things?size=24&validation=2&test=2",
        {**SMALL, "epochs": 1.0, "degree": {"weight": 1.0, "sampled": 2, "decoys": True}},
    ),
    "adpa": (
        "adpa",
        "paired:backward-sums?digits=1&size=24&validation=2&test=2",
        {**SAMPLED, "epochs": 1.0, "teachers.batch_size": 5, "teachers.learning_rate": 1e-3},
    ),
    "dpo": ("dpo", "paired:backward-sums?digits=1&size=40&validation=4&test=4", {**SMALL, "epochs": 1.0}),
}


def train(out: Path) -> dict[str, Weights]:
    result = {}
    only_sharded = "shards" in sys.argv[2:]
    for name, (key, spec, settings) in METHODS.items():
        if only_sharded and not load(key).shards:
            continue
        if spec == "targets":
            out.joinpath(f"targets-{os.environ.get('RANK', '0')}").mkdir(exist_ok=True)
            spec = quick_prover.data(out / f"targets-{os.environ.get('RANK', '0')}")
        data = task(row(key).kind).load_data(spec)
        with short_run(out / name, steps=4) as run:
            model = experts(seed=0) if name == "scmoe" else tiny(seed=0)
            model = tiny_encoder_decoder(seed=0) if name == "qcrd" else model
            model = quick_prover.model().double() if key == "sgs" else model
            model = untaught(seed=0, width=32) if name == "vc-star" else model
            trained = run.gathered(load(key).settings(**settings).fit(model, data, run))
            result[name] = trained.state_dict()
    return result


if __name__ == "__main__":
    report(train)
