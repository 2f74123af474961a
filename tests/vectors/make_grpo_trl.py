"""Makes files/grpo_trl.npz: one batch through TRL 1.16.0's GRPOTrainer, from rewards to the gradient of every weight.

    python tests/vectors/make_grpo_trl.py        in an environment that has trl==1.16.0 besides counterpoint

TRL samples nothing here: its ``_generate`` hands over completions that are given. Advantages, losses and gradients are what
its own methods compute for them, in float64 but for the rewards, which it holds in float32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from counterpoint.models.language.characters import tiny

GROUP, LIMIT = 4, 6
PROMPTS = ["1+2=", "12+30="]
COMPLETIONS = ["3", "4", "12", "333333", "42", "42", "", "24"]
REWARDS = np.array([[1, 0, 0, 0, 1, 1, 0, 0.5], [0.1, 0.1, 0.2, 0.6, 0.2, 0.2, 0, 0.2]], dtype=np.float32).T
WEIGHTS = [1.0, 0.5]
SETTINGS: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "bnpo": {"loss_type": "bnpo"},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "gspo": {
        "loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4,
    },
    "luspo": {
        "loss_type": "luspo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4,
    },
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.3},
    "sapo": {"loss_type": "sapo"},
    "vespo": {"loss_type": "vespo"},
    "grpo_batch": {"loss_type": "grpo", "scale_rewards": "batch"},
    "grpo_each": {"loss_type": "grpo", "multi_objective_aggregation": "normalize_then_sum"},
    "grpo_kl": {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False},
    "grpo_kl_corrected": {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": True},
    "grpo_skip_cut": {"loss_type": "grpo", "mask_truncated_completions": True},
    "grpo_entropy": {"loss_type": "grpo", "entropy_coef": 0.01},
    "grpo_delta": {"loss_type": "grpo", "delta": 1.1},
}  # fmt: skip


class Given(GRPOTrainer):
    """Takes completions that are given."""

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        ids = [self.processing_class.apply_chat_template(
            [{"role": "user", "content": p}], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"] for p in prompts]  # fmt: skip
        return ids, completion_ids(self.processing_class), None, list(COMPLETIONS), None, {}, None, []


def completion_ids(tokenizer: Any) -> list[list[int]]:
    """Each completion with its end; the longest is cut before one."""
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in COMPLETIONS]
    return [row if len(row) >= LIMIT else [*row, tokenizer.eos_token_id] for row in rows]


def reward(column: int) -> Any:
    """One of the reward functions."""

    def function(completions: list[str], **_: Any) -> list[float]:
        return REWARDS[:, column].tolist()

    function.__name__ = f"reward{column}"
    return function


def main() -> None:
    """Write the file."""
    model = tiny(seed=3, layers=1, width=8, heads=1, alphabet="0123456789+=~")
    causal, tokenizer = model.causal.double(), model.tokenizer
    noise = np.random.default_rng(0)
    causal.load_state_dict(
        {n: v + 0.3 * torch.tensor(noise.normal(size=v.shape)) for n, v in causal.state_dict().items()}
    )
    ids = completion_ids(tokenizer)
    drift, apart = (noise.normal(size=(len(ids), LIMIT)) * size for size in (0.1, 0.2))
    arrays: dict[str, Any] = {f"weight.{n}": v.numpy() for n, v in causal.state_dict().items()}
    arrays |= {
        "prompts": np.array(PROMPTS),
        "completions": np.array(COMPLETIONS),
        "group": GROUP,
        "limit": LIMIT,
    }
    arrays |= {"rewards": REWARDS, "reward_weights": np.array(WEIGHTS)}
    inputs = [{"prompt": prompt} for prompt in PROMPTS for _ in range(GROUP)]
    for name, chosen in SETTINGS.items():
        settings = dict(chosen)
        beta = settings.pop("beta", 0.0)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Given(
                model=causal,
                reward_funcs=[reward(0), reward(1)],
                args=GRPOConfig(
                    output_dir=folder, per_device_train_batch_size=len(inputs), num_generations=GROUP, report_to=[],
                    max_completion_length=LIMIT, reward_weights=WEIGHTS, use_cpu=True, bf16=False, gradient_checkpointing=False,
                    **settings,
                ),
                train_dataset=Dataset.from_list(inputs),
                processing_class=tokenizer,
            )  # fmt: skip
            trainer.current_gradient_accumulation_steps = 1
            causal.train()
            batch = trainer._generate_and_score_completions(inputs)
            both = [torch.cat([batch[f"prompt_{x}"], batch[f"completion_{x}"]], 1) for x in ("ids", "mask")]
            with torch.no_grad():
                logp = trainer._get_per_token_logps_and_entropies(
                    causal, *both, batch["completion_ids"].shape[1]
                )[0]
            batch["old_per_token_logps"] = logp + torch.tensor(drift)
            batch["ref_per_token_logps"] = logp + torch.tensor(apart)
            trainer.beta = beta  # only now: with it, TRL would look for a reference model of its own
            causal.zero_grad()
            loss = trainer._compute_loss(causal, batch)
            loss.backward()
        if name == "grpo":
            arrays |= {f"{n}_logps": batch[f"{n}_per_token_logps"].numpy() for n in ("old", "ref")}
        arrays[f"{name}/settings"] = repr({**chosen})
        arrays[f"{name}/advantages"] = batch["advantages"].numpy()
        arrays[f"{name}/loss"] = loss.item()
        arrays |= {
            f"{name}/grad_{n}": p.grad.numpy().copy()
            for n, p in causal.named_parameters()
            if p.grad is not None
        }
    np.savez_compressed(
        Path(__file__).parent / "files" / "grpo_trl.npz", **{f"batch/{n}": v for n, v in arrays.items()}
    )


if __name__ == "__main__":
    main()
