"""P7, P8: whole training runs of SmolLM2-135M-Instruct as a person starts them: reading rows, steps, references, sampling.

Both sides train the same weights on the same rows in the same order with the same optimiser; a side's own data
preparation, logs and events count. Supervised steps and preference runs are counted only when every step's loss agrees.
Sampled replies differ (each side has its own random numbers), so self-distillation compares time alone. TRL runs in its
own environment where its versions want one: COUNTERPOINT_TRL_PYTHON names that interpreter.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from harness import Step, Workload, main

ARMS = ("ours", "trl")
SMALL = {"rows": 4, "batch": 2, "steps": 2, "words": 6, "new": 4, "pretrained": 0}
WORKLOADS = [
    Workload("p8-sft", ARMS, {"rows": 16, "batch": 8, "steps": 2, "words": 120, "pretrained": 1}, SMALL, ">= 1.3x", tolerance=2e-4, goals={"trl": 1.3}),
    Workload("p8-dpo", ARMS, {"rows": 12, "batch": 4, "steps": 2, "words": 90, "pretrained": 1}, SMALL, ">= 2x", tolerance=2e-4, goals={"trl": 2.0}),
    Workload("p8-sdft", ARMS, {"rows": 8, "batch": 8, "steps": 1, "words": 24, "new": 48, "pretrained": 1}, SMALL, ">= 2x", compare=False, goals={"trl": 2.0}),
    Workload("p7-sdft", ARMS, {"rows": 64, "batch": 64, "steps": 1, "words": 16, "new": 64, "pretrained": 0, "layers": 6, "width": 256}, SMALL, ">= 2x", compare=False, goals={"trl": 2.0}),
]  # fmt: skip
RATE = 1e-4


def model(sizes: dict[str, int]) -> Any:
    """The language model: SmolLM2-135M-Instruct, or a small random one (for P7, and for a dry run)."""
    from counterpoint.models.language import characters, language

    return (
        language.load("smollm2-135m-instruct")
        if sizes["pretrained"]
        else characters.tiny(seed=0, layers=sizes.get("layers", 2), width=sizes.get("width", 32), heads=4)
    )


def text(generator: torch.Generator, words: int) -> str:
    """A text of some words, of uneven length: a quarter of the longest to the longest."""
    vocabulary = [
        "the",
        "a",
        "sea",
        "wind",
        "road",
        "stone",
        "bird",
        "house",
        "light",
        "water",
        "hand",
        "year",
        "word",
        "river",
        "night",
        "song",
    ]
    count = int(torch.randint(max(words // 4, 1), words + 1, (), generator=generator))
    return " ".join(vocabulary[int(i)] for i in torch.randint(len(vocabulary), (count,), generator=generator))


def rows(sizes: dict[str, int]) -> list[dict[str, str]]:
    """Prompts with two answers each, in the order in which a run with seed 0 draws them."""
    from counterpoint.training.batches import BatchPlan

    generator = torch.Generator().manual_seed(1)
    made = [
        {
            "prompt": text(generator, sizes["words"]),
            "chosen": text(generator, sizes["words"]),
            "rejected": text(generator, sizes["words"]),
        }
        for _ in range(sizes["rows"])
    ]
    order = BatchPlan(len(made), sizes["batch"], 0, "train", True, False).epoch_order(0)
    given: list[dict[str, str]] = [{}] * len(made)
    for place, row in zip(order.tolist(), made):  # so that our shuffle gives `made`
        given[place] = row
    return given


def prepare(workload: Workload, arm: str, sizes: dict[str, int]) -> Step:
    language, data, kind = model(sizes), rows(sizes), workload.name.split("-")[1]
    if kind == "dpo":
        from counterpoint.models.language.adapters import LoRA

        language = language.with_lora(LoRA(rank=8, alpha=16.0, dropout=0.0), seed=0)
    folder = Path(tempfile.mkdtemp())
    if (kind, arm) == ("sdft", "trl"):  # the peer reads its averaged teacher from the student's folder
        language.causal.config._name_or_path = language.causal.name_or_path = str(
            language.save(folder / "start")
        )
    act = ours if arm == "ours" else trl
    return lambda: act(kind, language, data, sizes, folder)


def ours(
    kind: str, language: Any, data: list[dict[str, str]], sizes: dict[str, int], folder: Path
) -> dict[str, Any]:
    from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
    from counterpoint.data.language.problems import Problem, ProblemData, Problems
    from counterpoint.methods.catalog import load
    from counterpoint.training import Budget, Run

    common = {"batch_size": sizes["batch"], "learning_rate": RATE, "lora_rank": 0,
              "optimizer.schedule": "constant", "optimizer.warmup": 0.0}  # fmt: skip
    os.environ["COUNTERPOINT_CACHE"] = str(folder / "cache")  # no reference of an earlier round
    if kind == "dpo":
        pairs = Preferences([Preference(**row) for row in data])
        given: Any = PreferenceData("rows", pairs, pairs[:0], pairs[:0])
        method = load("dpo").settings(**{**common, "lora_rank": 8})
    else:
        problems = [Problem(prompt=row["prompt"], solution=row["chosen"]) for row in data]
        given = ProblemData("rows", Problems(problems, "exact"), Problems([], "exact"), Problems([], "exact"))
        own = (
            {}
            if kind == "sft"
            else {"max_new_tokens": sizes["new"], "teacher": "ema", "divergence": "forward"}
        )
        method = load(kind).settings(**common, **own)
    with Run(folder / "run", budget=Budget(steps=sizes["steps"]), progress=False) as run:
        method.fit(language, given, run)
    events = [json.loads(line) for line in (folder / "run" / "events.jsonl").read_text().splitlines()]
    return {"losses": torch.tensor([event["loss"] for event in events if "loss" in event])}


def trl(
    kind: str, language: Any, data: list[dict[str, str]], sizes: dict[str, int], folder: Path
) -> dict[str, Any]:
    from datasets import Dataset
    from torch.utils.data import SequentialSampler

    from counterpoint.training.batches import BatchPlan

    order = BatchPlan(len(data), sizes["batch"], 0, "train", True, False).epoch_order(0).tolist()
    table = [turned(kind, data[place]) for place in order]
    config, trainer = trainers(kind)
    fixed = {} if kind != "sdft" else {
        "max_completion_length": sizes["new"], "num_generations": 1, "teacher_model_kind": "ema",
        "teacher_update_rate": 0.01, "distillation_mode": "full_logits", "distillation_alpha": 0.0,
        "distillation_is_clip": None, "disable_dropout": True, "max_prompt_length": None,
    }  # fmt: skip
    if kind != "sdft":
        fixed["max_length"] = None
    arguments = config(
        output_dir=str(folder), per_device_train_batch_size=sizes["batch"], max_steps=sizes["steps"],
        learning_rate=RATE, lr_scheduler_type="constant", max_grad_norm=1.0, use_cpu=True, bf16=False,
        gradient_checkpointing=False, save_strategy="no", logging_steps=1, report_to=[], disable_tqdm=True,
        **fixed,
    )  # fmt: skip

    class InOrder(trainer):  # type: ignore[misc,valid-type]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            if kind == "sdft":
                return super()._get_train_sampler(dataset)
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

    made = InOrder(
        model=language.causal, args=arguments, train_dataset=Dataset.from_list(table),
        processing_class=language.tokenizer,
    )  # fmt: skip
    made.train()
    return {"losses": torch.tensor([line["loss"] for line in made.state.log_history if "loss" in line])}


def turned(kind: str, row: dict[str, str]) -> dict[str, Any]:
    """A row in TRL's conversational form."""
    prompt = [{"role": "user", "content": row["prompt"]}]
    if kind == "sdft":
        return {"prompt": prompt, "privileged_context": row["chosen"]}
    answers = {name: [{"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected")}
    return (
        {"prompt": prompt, **answers}
        if kind == "dpo"
        else {"prompt": prompt, "completion": answers["chosen"]}
    )


def trainers(kind: str) -> tuple[Any, Any]:
    if kind == "sft":
        from trl import SFTConfig, SFTTrainer

        return SFTConfig, SFTTrainer
    if kind == "dpo":
        from trl import DPOConfig, DPOTrainer

        return DPOConfig, DPOTrainer
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer

    return SDFTConfig, SDFTTrainer


if __name__ == "__main__":
    main(__file__, WORKLOADS, prepare)
