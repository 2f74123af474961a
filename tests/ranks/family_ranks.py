"""Train one or two methods of every family for a few steps; the last batches are ragged, and some hold a single row.

torchrun may start several processes: with two, the second has no row of such a batch. Weights are float64 where the
model allows it, so that a term which is no sum over the global batch shows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import conversation_folder
from beir_folder import write as write_food
from counterpoint.data.regression.load import build as build_regression
from counterpoint.data.text.load import build as build_texts
from counterpoint.data.text.rows import Row
from counterpoint.methods.catalog import load, row
from counterpoint.models import deferred
from counterpoint.models.audio.encoder import SmallSpeech
from counterpoint.models.audio.lexicon import Lexicon
from counterpoint.models.audio.understanding import with_head
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import adapt
from counterpoint.models.language.language import load as load_language
from counterpoint.models.text.folder import fresh_words
from counterpoint.models.text.words import vocabulary
from counterpoint.study.store import events
from counterpoint.tasks.task import task
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Run, meeting
from counterpoint.training import run as running
from interaction_clusters import clusters
from own_clips import NOISE_RATE, noise
from ranks_harness import Weights, report, short_run
from texts_made_up import rows

Made = tuple[Any, Any]
LANGUAGE = {"learning_rate": 1e-3, "lora_rank": 0}
SAMPLED = {**LANGUAGE, "max_new_tokens": 6}
ROUNDS = {
    "rounds": 1, "answers": 3, "max_new_tokens": 3, "learning_rate": 1e-3, "sft_learning_rate": 1e-3, "sft_epochs": 1.0,
    "epochs": 1.0, "batch_size": 5, "seed_examples": 11,
}  # fmt: skip
EVERY_MECHANISM = {
    **SAMPLED, "mode": "unisd_star", "agreement": {"retriever": "tfidf", "gamma": 0.5, "num_contexts": 2},
    "contrast": {"negatives": "other"}, "ema": {"sync_steps": 2}, "clip": {"quantile": 0.7},
}  # fmt: skip


def problems(out: Path) -> Made:
    found = task("problems").load_data("worked-sums?size=19&validation=4&test=4")
    return found, in_files(task("problems").load_model("characters", found, 1).double(), out)


def preferences(out: Path) -> Made:
    found = task("preferences").load_data("paired:backward-sums?digits=1&size=19&validation=4&test=4")
    return found, in_files(task("preferences").load_model("characters", found, 1).double(), out)


def in_files(model: Any, out: Path) -> Any:
    """The model; where weights are to be in shards, with weights that each process reads for itself from the first one's folder."""
    if "COUNTERPOINT_SHARD" not in os.environ:
        return model
    folder = out.with_name("0") / "model"
    if meeting.meet()[0] == 0:  # transformers writes on the first process alone
        model.save(folder)
    meeting.together()
    with deferred.wanted():
        far = load_language(folder, dtype=torch.float64)
    assert all(p.is_meta for p in far.parameters())
    return far


def images(_: Path) -> Made:
    found = task("images").load_data("digits", limit=23, evaluation_limit=10)
    return found, task("images").load_model("conv-small:group", found, 1)


def paired_images(out: Path) -> Made:
    found, model = images(out)
    partners = torch.randn(23, 12, generator=torch.Generator().manual_seed(0))
    return replace(found, train=replace(found.train, partners=partners)), model


def texts(_: Path) -> Made:
    table = [Row(each["text"], (each["label"],), None, "row") for each in rows(60)]
    found = build_texts(table, False, "made", labelled=0.6)
    return found, fresh_words(vocabulary(found.train.texts), 0, 1, dropout=0.0)


def numbers(_: Path) -> Made:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(23, 5)).astype(np.float32)
    found = build_regression(inputs, 3 * inputs[:, 0] + 10, np.full(23, "train"), tuple("abcde"), "made", [])
    return found, task("regression").load_model("mlp:layer", found, 1)


def interactions(out: Path) -> Made:
    out.mkdir(parents=True, exist_ok=True)
    found = clusters(out, users=12, items=12, per_user=4)
    return found, task("interactions").load_model("embeddings-8", found, 1)


def clips(_: Path) -> Made:
    found = noise("abcd")
    torch.manual_seed(0)
    lexicon = Lexicon.of(found.classes, found.train.texts)
    encoder = SmallSpeech(NOISE_RATE, num_mels=10, widths=(16, 16))
    return found, with_head(encoder, "decoder", lexicon, dropout=0.0)  # dropout is each process's own


def food(out: Path) -> Made:
    found = task("retrieval").load_data(str(write_food(out / "food", ("train",), size=11)))
    return found, task("retrieval").load_model("characters", found, 1).double()


def dishes(out: Path) -> Made:
    found = task("retrieval").load_data(str(conversation_folder.write(out / "dishes", size=17)))
    return found, task("retrieval").load_model("sparse-words", found, 0).double()


def trajectories(_: Path) -> Made:
    found = task("trajectories").load_data("gridrobot")
    return found, task("trajectories").load_model("encoder-6", found, 1)


FAMILIES: dict[str, tuple[Callable[[Path], Made], dict[str, tuple[str, dict[str, Any]]]]] = {
    "language": (problems, {
        "sft": ("sft", LANGUAGE),
        "gkd": ("gkd", {**SAMPLED, "on_policy": 0.5}),
        "sdft": ("sdft", SAMPLED),
        "unisd": ("unisd", EVERY_MECHANISM),
        "grpo": ("grpo", {**SAMPLED, "judge": "majority", "answers": 3, "minibatches": 2}),
        "cream": ("cream", ROUNDS),
        "self-rewarding": ("self-rewarding", ROUNDS),
        "pu-distill": ("pu-distill", {
            **SAMPLED, "answers": 3, "iterations": 2, "rating.template": "{anchor}:{candidate}?", "imitation.batch_size": 5,
        }),
        "user": ("user-interactions", {
            **SAMPLED, "form": "online", "user.function": "counterpoint.cases.user_interactions:capitals", "watched": 2,
        }),
        "online loop": ("suboptimal-onpolicy", {
            **SAMPLED, "loss": "best_of_n", "negative.kind": "sum", "negative.weight": 0.1, "answers": 3, "judge": "majority",
            "watched": 1, "minibatches": 2,
        }),
    }),
    "preference": (preferences, {
        "dpo": ("dpo", {"learning_rate": 1e-3, "loss": "rpo"}),
        "selm": ("selm", {
            "rounds": 1, "alpha": 0.1, "max_new_tokens": 4, "batch_size": 5, "learning_rate": 1e-3, "judge": "format:[0-9]",
        }),
        "pairs in the loop": ("suboptimal-onpolicy", {
            "sampling": "offline", "loss": "ipo", "learning_rate": 1e-3, "batch_size": 5, "watched": 1,
        }),
        "kto": ("dpo", {"learning_rate": 1e-3, "loss": "kto"}),
    }),
    "retrieval": (food, {
        "contrast": ("grace", {"objective": "contrastive", "template": "{text}", "learning_rate": 1e-3}),
        "rationales": ("grace", {
            "answers": 3, "max_new_tokens": 4, "template": "{text}", "learning_rate": 1e-3, "minibatches": 2,
            "reward": {"cut_penalty": None, "cross_of": "rollout"},
        }),
    }),
    "sparse retrieval": (dishes, {
        "scores": ("disco", {
            "learning_rate": 0.1, "optimizer": {"name": "sgd"}, "negatives.count": 3, "negatives.skip": 1, "weights.contrast": 0.3,
            "sparsity": {"weight": 0.01, "penalty": "flops"},
        }),
    }),
    "images": (images, {
        "simclr": ("simclr", {"dim": 8}),
        "dcl": ("dcl", {"dim": 8, "variant": "nnclr-dcl", "queue_size": 24}),
        "multiview": ("multiview", {"dim": 8, "num_views": 3}),
        "isogclr": ("isogclr", {"dim": 8, "temperature_rate": 0.1}),
        "sla": ("sla", {"mode": "sla+sd"}),
    }),
    "paired images": (paired_images, {
        "clip": ("clip", {"dim": 8, "optimizer": "sgd"}),
        "bimodal": ("isogclr", {"dim": 8, "temperature_rate": 0.1, "bimodal": True}),
    }),
    "texts": (texts, {
        "labels": ("contrastive-primer", {"mix": 0.5}),
        "views": ("contrastive-primer", {"objective": "ntxent", "hide": 0.2}),
        "groups": ("contrastive-primer", {"objective": "supcon", "hide": 0.2}),
        "triplets": ("contrastive-primer", {"objective": "triplet_cos", "hide": 0.2}),
        "classifier": ("text-classifier", {"dropout": 0.0}),
    }),
    "regression": (numbers, {
        "supremix": ("supremix", {"dim": 8, "bin_width": 1.0, "window": 3.0}),
        "regression": ("regression", {}),
    }),
    "interactions": (interactions, {
        "lightgcn": ("lightgcn", {}),
        "xsimgcl": ("xsimgcl", {}),
        "sgl": ("sgl", {}),
        "simgcl": ("simgcl", {}),
    }),
    "speech": (clips, {
        "coconut": ("coconut", {
            "tasks": 2, "memory": 6, "memory.replay_share": 0.4, "learning_rate": 1e-3,
            "distillation": {"kinds": "tokens+sequence+audio", "beams": 2},
        }),
    }),
    "trajectories": (trajectories, {"sirl": ("sirl", {"queries": 23})}),
}  # fmt: skip


def train(out: Path) -> dict[str, Weights]:
    result: dict[str, Weights] = {}
    whole = Run.batches
    Run.batches = lambda self, source, size, **options: whole(  # type: ignore[method-assign]
        self, source, size if options.get("drop_last") else ragged(len(source)), **options
    )
    chosen = sys.argv[2:] or list(FAMILIES)
    for family, (make, methods) in FAMILIES.items():
        for name, (key, settings) in methods.items():
            if not {family, f"{family}: {name}"} & set(chosen):
                continue
            # A folder for each process: one that writes a file while another reads it would lose a run now and then.
            data, model = make(out / "data" / os.environ.get("RANK", "0"))
            settings = {"batch_size": 7, **settings}
            sizes: list[int] = []
            running.share = counted(sizes)
            with short_run(out / family / name, steps=9) as run:
                trained = run.gathered(load(key).settings(**settings).fit(model, data, run))
            result[f"{family}: {name}"] = {
                **{n: v for n, v in trained.state_dict().items() if isinstance(v, torch.Tensor)},
                "smallest batch": torch.tensor(min(sizes)),
                "losses": torch.tensor([event["loss"] for event in events(run.out) if "loss" in event]),
            }
            if run.mesh is not None:
                assert shares_frozen_weights(run)
                result[f"{family}: {name}"]["shards"] = torch.tensor(in_parts(model))
    return result


def shares_frozen_weights(run: Run) -> bool:
    """Whether a teacher in shards holds the memory of its student's frozen base, and none of its adapters'."""
    student = run.state(**{"adapted": adapt(tiny(seed=0), 4)})
    teacher = run.constant(Frozen(student)).model
    frozen = {name: each for name, each in student.named_parameters() if not each.requires_grad}
    own = dict(teacher.named_parameters())
    same = {name for name, each in student.named_parameters() if address(each) == address(own[name])}
    return same == frozen.keys()


def address(shard: Any) -> int:
    return shard.to_local().untyped_storage().data_ptr()


def in_parts(model: torch.nn.Module) -> int:
    """Over how many processes a model's weights are spread; one holds about its share of them."""
    sizes = [(p.to_local().numel(), p.numel()) for p in model.parameters()]  # type: ignore[operator]
    return round(sum(whole for _, whole in sizes) / sum(own for own, _ in sizes))


def ragged(count: int) -> int:
    """A batch size that leaves one row for the last batch of so many."""
    return next(size for size in range(4, max(count, 6)) if count % size == 1 or count <= size)


def counted(sizes: list[int]) -> Callable[[int, int, int], slice]:
    """``share``, which notes how many rows each global batch has."""
    from counterpoint.training.batches import share

    def noted(size: int, rank: int, world: int) -> slice:
        sizes.append(size)
        return share(size, rank, world)

    return noted


assert all(row(key) for _, methods in FAMILIES.values() for key, _ in methods.values())

if __name__ == "__main__":
    report(train)
