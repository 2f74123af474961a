"""Writes trl_rows.json: ids and masks of every row of every family, as TRL's trainers prepare them.

    python tests/references/trl_rows.py        in an environment of its own that has trl==1.16.0

The package is neither needed nor imported. Rows that are conversations go through templates with generation marks under
``assistant_only_loss`` (TRL's way to learn the assistant's turns alone), and through templates without them otherwise.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate
import families
import trl
from datasets import Dataset
from trl import DPOTrainer, KTOTrainer, SFTTrainer

OUT = Path(__file__).with_suffix(".json")
ARGUMENTS = SimpleNamespace(
    dataset_num_proc=None, dataset_text_field="text", max_length=None, truncation_mode="keep_start",
    shuffle_dataset=False, seed=0, per_device_train_batch_size=1,
)  # fmt: skip


def conversational(row: dict[str, Any]) -> bool:
    """Whether a row is messages."""
    return any(isinstance(value, list) for name, value in row.items() if name != "tools")


def sft(tokenizer: Any, row: dict[str, Any], assistant_only: bool) -> dict[str, list[int]]:
    """Ids, and 1 where a label is."""
    trainer = SimpleNamespace(_tokenizer=tokenizer, chat_template=None, completion_only_loss="prompt" in row)
    arguments = SimpleNamespace(**vars(ARGUMENTS), assistant_only_loss=assistant_only)
    [made] = SFTTrainer._prepare_dataset(
        trainer, Dataset.from_list([row]), tokenizer, arguments, False, None, "train"
    )
    return {"ids": made["input_ids"], "mask": [int(label != -100) for label in made["labels"]]}


def pair(tokenizer: Any, row: dict[str, Any]) -> dict[str, list[int]]:
    """Ids of prompt, chosen and rejected."""
    trainer = SimpleNamespace(_tokenizer=tokenizer)
    [made] = DPOTrainer._prepare_dataset(trainer, Dataset.from_list([row]), tokenizer, ARGUMENTS, "train")
    return {name: made[f"{name}_ids"] for name in ("prompt", "chosen", "rejected")}


def unpaired(tokenizer: Any, row: dict[str, Any]) -> dict[str, list[int]]:
    """Ids of prompt and completion."""
    trainer = SimpleNamespace(
        _tokenizer=tokenizer, calculate_KL=False, desirable_weight=1.0, undesirable_weight=1.0
    )
    [made] = KTOTrainer._prepare_dataset(trainer, Dataset.from_list([row]), tokenizer, ARGUMENTS, "test")
    return {name: made[f"{name}_ids"] for name in ("prompt", "completion")}


def prompt(tokenizer: Any, row: dict[str, Any]) -> dict[str, list[int]]:
    """Ids of what is sampled from."""
    text = trl.apply_chat_template(row, tokenizer)["prompt"] if conversational(row) else row["prompt"]
    return {"ids": tokenizer(text, add_special_tokens=not conversational(row))["input_ids"]}


def main() -> None:
    """Write the file."""
    accelerate.PartialState()
    made: dict[str, Any] = {"trl": trl.__version__, "sft": {}, "dpo": {}, "kto": {}, "prompts": {}}
    for name in families.FAMILIES:
        plain, marked = families.tokenizer(name), families.tokenizer(name, marked=True)
        made["sft"][name] = {
            shape: sft(marked if conversational(row) else plain, row, conversational(row))
            for shape, row in families.rows(name, "sft").items()
        }
        for kind, prepare in (("dpo", pair), ("kto", unpaired), ("prompts", prompt)):
            made[kind][name] = {
                shape: prepare(plain, row) for shape, row in families.rows(name, kind).items()
            }
    text = re.sub(
        r"\[[\d,\s]+\]", lambda found: re.sub(r"\s+", "", found.group()), json.dumps(made, indent=1)
    )
    OUT.write_text(text + "\n")


if __name__ == "__main__":
    main()
