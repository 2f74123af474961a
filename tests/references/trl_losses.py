"""Writes trl_losses.json: losses of the first three steps of SFT, of every loss of DPO that both have, of KTO and of a reward
model, by TRL.

    python tests/references/trl_losses.py        in an environment of its own that has trl==1.16.0

All rows are one batch, the optimiser is AdamW without weight decay at a constant rate, nothing is clipped.
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import families
import torch
import trl
from datasets import Dataset

import training

OUT = Path(__file__).with_suffix(".json")
DPO = (
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "sigmoid_norm",
)
SMOOTHED = ("exo_pair", "robust")


def losses(trainer_class: Any, config_class: Any, rows: list[dict[str, Any]], **settings: Any) -> list[float]:
    """Losses before each of the first steps."""
    tokenizer = families.tokenizer(training.FAMILY)
    model = (training.scorer if trainer_class is trl.RewardTrainer else training.causal)(len(tokenizer))
    if trainer_class is not trl.SFTTrainer:
        settings["disable_dropout"] = True
    with tempfile.TemporaryDirectory() as folder:
        arguments = config_class(
            output_dir=folder, use_cpu=True, bf16=False, report_to=[], gradient_checkpointing=False, max_length=None,
            per_device_train_batch_size=len(rows), dataloader_pin_memory=False, **settings,
        )  # fmt: skip
        alone = trainer_class in (trl.SFTTrainer, trl.RewardTrainer)
        given = {} if alone else {"ref_model": copy.deepcopy(model)}
        trainer = trainer_class(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            **given,
        )
    batch = trainer.data_collator([trainer.train_dataset[at] for at in range(len(rows))])
    model = trainer.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.LEARNING_RATE, weight_decay=0.0)
    found = []
    for _ in range(training.STEPS):
        loss = trainer.compute_loss(model, dict(batch))
        found.append(float(loss))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


def main() -> None:
    """Write the file."""
    made: dict[str, Any] = {"trl": trl.__version__, "dpo": {}}
    made["sft"] = losses(trl.SFTTrainer, trl.SFTConfig, training.SUPERVISED)
    for name in DPO:
        smoothing = {"label_smoothing": training.SMOOTHING} if name in SMOOTHED else {}
        made["dpo"][name] = losses(
            trl.DPOTrainer, trl.DPOConfig, training.PAIRS, loss_type=[name], beta=training.BETA, **smoothing
        )
    made["kto"] = losses(trl.KTOTrainer, trl.KTOConfig, training.MARKED, beta=training.BETA)
    made["reward"] = {
        name: losses(trl.RewardTrainer, trl.RewardConfig, rows, center_rewards_coefficient=weight)
        for name, (rows, weight) in training.REWARDS.items()
    }
    OUT.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
