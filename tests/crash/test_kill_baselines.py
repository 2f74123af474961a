"""Baselines, and methods without a run in the other files, killed with SIGKILL, end with the unbroken run's bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crash_harness import Command, check, command
from test_kill import ratings

import beir_folder
import conversation_folder
import quick_prover
from counterpoint.methods.catalog import ready
from counterpoint.models.language.characters import tiny, tiny_encoder_decoder
from counterpoint.tasks.stock.mixture import ALPHABET, experts
from counterpoint.tasks.stock.reader import untaught
from texts_made_up import rows, write_csv

TAUGHT = "second-largest?size=24&digits=3&validation=4&test=4"
SUMS = "worked-sums?size=24&validation=4&test=4"
SMALL = {"batch_size": 4, "lora_rank": 0, "learning_rate": 1e-3}
SAMPLED = {**SMALL, "max_new_tokens": 4}
VIEWS = {"batch_size": 16}
TWO = "{image}{question}={answer}:{other_image}{other_question}={other_answer}:"
GRAPH: dict[str, Any] = {
    "data": "ratings",
    "model": "embeddings-16",
    "settings": {"batch_size": 64},
    "steps": 80,
}
WALKS: dict[str, Any] = {"data": "gridrobot", "model": "encoder-6", "settings": {}, "steps": 60}
RUNS: dict[str, dict[str, Any]] = {
    "multiview": {"data": "digits", "model": "conv-small", "settings": VIEWS, "steps": 30},
    "multiview-pairwise": {"data": "digits", "model": "conv-small", "settings": VIEWS, "steps": 30},
    "simclr": {"data": "digits", "model": "conv-small", "settings": VIEWS, "steps": 40},
    "sft": {"data": SUMS, "model": "characters", "settings": SMALL, "steps": 16},
    "sdft": {"data": SUMS, "model": "characters", "settings": SAMPLED, "steps": 8},
    "pi-distill": {
        "data": SUMS, "model": "characters", "steps": 6,
        "settings": {
            **SAMPLED, "information.source": "written", "information.request": "{prompt};{information}",
            "information.template": "{information}#{prompt}", "answers": 3, "steps": 2, "anneal": 4,
        },
    },
    "user-interactions": {
        "data": "styled-letters?size=24&validation=4&test=4&digits=2", "model": "characters", "steps": 8,
        "settings": {
            **SMALL, "form": "online", "max_new_tokens": 4, "watched": 2,
            "user.function": "counterpoint.cases.user_interactions:capitals",
        },
    },
    "gkd": {"data": SUMS, "model": "characters", "settings": SAMPLED, "steps": 8},
    "grpo": {
        "data": SUMS,
        "model": "characters",
        "settings": {
            **SAMPLED, "variant": "reinforce", "penalty.weight": 0.04, "judge": "majority", "answers": 4, "iterations": 2,
            "minibatches": 2,
        },
        "steps": 8,
    },
    "rltf": {
        "data": SUMS,
        "model": "characters",
        "settings": {
            **SAMPLED, "judge": "majority", "feedback": "counterpoint.tasks.stock.guesser:only_wrong", "answers": 4,
            "template": "{attempt}:{feedback}#{prompt}", "mode": "fm", "critique_template": "{attempt}?{prompt}",
        },
        "steps": 8,
    },
    "pu-distill": {
        "data": SUMS, "model": "characters", "steps": 8,
        "settings": {
            **SAMPLED, "answers": 4, "iterations": 2, "rating.template": "{anchor}:{candidate}?", "rating.watched": "majority",
        },
    },
    "self-rewarding": {
        "data": "backward-sums?digits=1&size=56&validation=8&test=8",
        "model": "characters",
        "settings": {
            "rounds": 1, "answers": 4, "top_p": 1.0, "max_new_tokens": 4, "learning_rate": 1e-3, "batch_size": 4,
            "sft_epochs": 6.0, "epochs": 2.0, "sft_learning_rate": 3e-3, "seed_examples": 16,
        },
        "steps": 0,
    },
    "scmoe": {"data": SUMS, "model": "experts", "settings": {"weak": "rank-3"}, "steps": 0},
    "dola": {"data": SUMS, "model": "experts", "settings": {}, "steps": 0},
    "contrastive-decoding": {"data": SUMS, "model": "experts", "settings": {"amateur": "amateur"}, "steps": 0},
    "qcrd": {
        "data": TAUGHT,
        "model": "encoder-decoder",
        "settings": {
            "batch_size": 8, "learning_rate": 1e-3, "max_new_tokens": 6, "epochs": 4.0, "negatives": {"back": 2},
            "judge": {"steps": 6},
        },
        "steps": 0,
    },
    "step-by-step": {
        "data": TAUGHT, "model": "encoder-decoder",
        "settings": {"batch_size": 4, "learning_rate": 1e-3, "epochs": 6.0}, "steps": 0,
    },
    "prompt-spo": {
        "data": SUMS, "model": "characters",
        "settings": {
            "rounds": 12, "max_new_tokens": 12, "prompt": "once plain chatty", "guarded": True, "questions": 4,
            "proposer.author": "counterpoint.tasks.stock.follower:propose",
            "voter.author": "counterpoint.tasks.stock.follower:coin",
        },
        "steps": 0,
    },
    "spar": {
        "data": "copied-letters?size=40&validation=4&test=4", "model": "characters",
        "settings": {
            "rounds": 2, "answers": 3, "max_new_tokens": 8, "judge": "counterpoint.tasks.stock.copier:closeness",
            "learning_rate": 1e-3, "batch_size": 8, "epochs": 2.0, "refiner.author": "counterpoint.tasks.stock.copier:clumsy",
        },
        "steps": 0,
    },
    "sgs": {"data": "targets", "model": "prover", "settings": {**quick_prover.SETTINGS, "rounds": 5}, "steps": 0},
    "specs": {
        "data": "tagged-sums?size=48&validation=8&test=4", "model": "characters",
        "settings": {
            "tags": "a b", "batch_size": 8, "learning_rate": 1e-3, "epochs": 6.0, "answers": 2, "rejected_from": "chosen",
            "judge": "format:.+", "source.max_new_tokens": 8, "watch.every": 6,
        },
        "steps": 0,
    },
    "vc-star": {
        "data": "digit-questions?size=36&validation=6&test=6", "model": "reader",
        "settings": {
            "rounds": 2, "keep": "easy,median,hard", "judge": "format:.*[a-m]", "rationale": "uncontrasted", "max_new_tokens": 4,
            "batch_size": 8, "epochs": 2.0, "learning_rate": 1e-3, "pairing.image_encoder": "pixels",
            "pairing.question_encoder": "tfidf", "pairing.image_limit": 1.5, "pairing.question_limit": 1.5,
            "wording.hint": "{question}={answer}:", "wording.rethink": "{rationale}?", "wording.alike": TWO, "wording.unlike": TWO,
            "rethinker.max_new_tokens": 4,
        },
        "steps": 0,
    },
    "lightgcn": GRAPH,
    "simgcl": GRAPH,
    "sgl": GRAPH,
    "trajectory-vae": WALKS,
    "multi-preference": WALKS,
    "preferences-only": WALKS,
    "regression": {"data": "diabetes", "model": "mlp", "settings": {"batch_size": 16}, "steps": 80},
    "count-ucb": {"data": "lock", "model": "auto", "settings": {"rounds": 20}, "steps": 0},
    "tfidf": {"data": "mails", "model": "words", "settings": {}, "steps": 0},
    "grace": {
        "data": "food", "model": "characters", "steps": 8,
        "settings": {
            "answers": 3, "max_new_tokens": 4, "batch_size": 4, "minibatches": 2, "learning_rate": 1e-3, "template": "{text}",
            "reward.cross_of": "rollout", "reward.cut_penalty": None,
        },
    },
    "disco": {
        "data": "dishes", "model": "sparse-words", "steps": 40,
        "settings": {
            "batch_size": 4, "learning_rate": 1e-2, "negatives.count": 4, "negatives.skip": 1, "weights.contrast": 0.1, "sparsity.weight": 1e-3,
        },
    },
    "audio-classifier": {
        "data": "clips", "model": "conv-speech", "settings": {"batch_size": 12, "learning_rate": 1e-3}, "steps": 60,
    },
}  # fmt: skip

ELSEWHERE = ("krr-st", "dcl", "isogclr", "sla", "clip")
RUNS |= {  # a new image method is killed without a line here
    key: RUNS["simclr"]
    for key, row in ready().items()
    if row.kind == "images" and key not in RUNS and key not in ELSEWHERE
}


def trained(key: str, folder: Path) -> Command:
    given = RUNS[key]
    settings = dict(given["settings"])
    rest: dict[str, Any] = {"data": given["data"], "model": given["model"]}
    if given["steps"]:
        rest["budget"] = {"steps": given["steps"]}
    if given["data"] == "ratings":
        rest["data"] = ratings(folder)
    if given["data"] == "mails":
        rest["data"] = write_csv(folder / "mails.csv", rows(200))
    if given["data"] == "targets":
        rules = quick_prover.PROVER
        rest |= {"data": quick_prover.data(folder), "data_options": {"judge": rules}}
        rest["model"] = str(quick_prover.model().save(folder / "prover"))
    if given["data"] == "food":
        rest["data"] = str(beir_folder.write(folder / "food"))
    if given["data"] == "dishes":
        rest["data"] = str(conversation_folder.write(folder / "dishes"))
    if given["data"] == "clips":
        pytest.importorskip("soundfile")
        from own_clips import folder as clips

        rest |= {
            "data": str(clips(folder / "clips")),
            "data_options": {"group": "prefix", "sample_rate": 8000},
        }
    if given["model"] == "experts":  # folders, as a person's are
        rest["model"] = str(experts(0, layers=3).save(folder / "experts"))
        dense = tiny(seed=1, layers=1, length=128, alphabet=ALPHABET).save(folder / "amateur")
        settings |= {"amateur": str(dense)} if "amateur" in settings else {}
    if given["model"] == "reader":
        rest["model"] = str(untaught(seed=0, width=32).save(folder / "reader"))
    if given["model"] == "encoder-decoder":
        rest["model"] = str(tiny_encoder_decoder(seed=0).save(folder / "encoder-decoder"))
    return command(key, settings, **rest)


# Every run is of its own kind; the rest of them is killed in the slow test.
FAST = (
    "multiview",
    "sdft",
    "grpo",
    "rltf",
    "user-interactions",
    "grace",
    "disco",
    "self-rewarding",
    "qcrd",
    "sgl",
    "count-ucb",
    "prompt-spo",
    "spar",
    "vc-star",
    "sgs",
)


@pytest.mark.parametrize("key", FAST)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, key: str) -> None:
    assert check(trained(key, tmp_path), tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("key", RUNS)
def test_ten_kills(tmp_path: Path, key: str) -> None:
    assert check(trained(key, tmp_path), tmp_path / "runs", trials=10, seed=7) >= 5
