"""Writes trl_policy.json: the loss and a gradient of every loss of GRPO's trainer on one batch that a formula makes, by TRL.

python tests/references/trl_policy.py        in an environment of its own that has trl==1.16.0
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import families
import trl
from datasets import Dataset

import training

OUT = Path(__file__).with_suffix(".json")
VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "bnpo": {"loss_type": "bnpo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "gspo": {
        "loss_type": "grpo",
        "importance_sampling_level": "sequence",
        "epsilon": 3e-4,
        "epsilon_high": 4e-4,
    },
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.3},
    "sapo": {"loss_type": "sapo"},
    "vespo": {"loss_type": "vespo"},
}


def main() -> None:
    """Write the file."""
    made: dict[str, Any] = {"trl": trl.__version__}
    for name, settings in VARIANTS.items():
        for beta in (0.0, 0.1):
            if beta and name in ("gspo", "vespo"):
                continue  # TRL corrects the KL by the sequence's ratio, or not at all; ours by the token's
            tokenizer = families.tokenizer(training.FAMILY)
            model = training.causal(len(tokenizer))
            with tempfile.TemporaryDirectory() as folder:
                arguments = trl.GRPOConfig(
                    output_dir=folder, use_cpu=True, bf16=False, report_to=[], gradient_checkpointing=False, 
                    per_device_train_batch_size=4, num_generations=2, max_completion_length=8, temperature=0.7, **settings,
                )  # fmt: skip
                trainer = trl.GRPOTrainer(
                    model=model, args=arguments, reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
                    train_dataset=Dataset.from_list([{"prompt": "a"}] * 4), processing_class=tokenizer,
                )  # fmt: skip
            trainer.beta = beta  # given at the start, it would load a reference model by name
            trainer.model.train()
            trainer.current_gradient_accumulation_steps = 1
            loss = trainer.compute_loss(trainer.model, training.policy_batch(len(tokenizer)))
            loss.backward()
            slope = float(
                trainer.model.get_parameter("model.layers.0.self_attn.q_proj.weight")
                .grad.double()
                .square()
                .sum()
                .sqrt()
            )
            made[f"{name} {beta}"] = [float(loss.detach()), slope]
    OUT.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
