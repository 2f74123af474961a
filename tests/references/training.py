"""A small model whose weights are a formula, and rows to train it on, for comparisons of losses with TRL. No randomness."""

from __future__ import annotations

from typing import Any

import families
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

FAMILY = "chatml"
STEPS, LEARNING_RATE, BETA, SMOOTHING = 3, 1e-2, 0.1, 0.1


def causal(vocabulary: int) -> Any:
    """A Llama of two layers."""
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=False, bos_token_id=None, eos_token_id=1,
        pad_token_id=0,
    )  # fmt: skip
    return _filled(LlamaForCausalLM(config))


def scorer(vocabulary: int) -> Any:
    """The same Llama with one number read off the last token."""
    base = causal(vocabulary)
    base.config.num_labels = 1
    model = LlamaForSequenceClassification(base.config)
    model.model.load_state_dict(base.model.state_dict())
    _filled(model.score)
    return model


def _filled(model: Any) -> Any:
    with torch.no_grad():
        for number, (name, weight) in enumerate(sorted(model.named_parameters())):
            wave = torch.sin(
                torch.arange(weight.numel(), dtype=torch.float64) * (0.37 + 0.11 * number) + number
            )
            weight.copy_(torch.ones_like(weight) if "norm" in name else (0.2 * wave).reshape(weight.shape))
    return model


def _talk(asked: str) -> list[dict[str, Any]]:
    return [families.turn("user", asked)]


def _said(text: str) -> list[dict[str, Any]]:
    return [families.turn("assistant", text)]


PAIRS = [
    {"prompt": _talk("Why is the sky blue?"), "chosen": _said("It is the tool."), "rejected": _said("No.")},
    {
        "prompt": _talk("And green?"),
        "chosen": _said("The model is."),
        "rejected": _said("It is the sky and the user."),
    },
    {"prompt": _talk("Is it the user?"), "chosen": _said("It is."), "rejected": _said("It is not the user")},
    {"prompt": _talk("Why?"), "chosen": _said("Why and why and why."), "rejected": _said("blue")},
]
SUPERVISED = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]
MARKED = [
    {"prompt": row["prompt"], "completion": row["chosen" if good else "rejected"], "label": good}
    for row, good in zip(PAIRS, (True, False, False, True))
]
GRADED = [{**row, "margin": margin} for row, margin in zip(PAIRS, (0.5, 0.0, 2.0, 1.0))]
REWARDS = {"plain": (PAIRS, None), "margin": (GRADED, None), "centred": (GRADED, 0.01)}
"""Rows and the weight of the centre term, by name."""


def policy_batch(vocabulary: int) -> dict[str, Any]:
    """A batch as GRPO's trainer hands it to its loss: prompts padded left, completions right. Four completions, no randomness."""
    prompts = (torch.arange(12).reshape(4, 3) * 5 + 7) % vocabulary
    completions = (torch.arange(20).reshape(4, 5) * 3 + 11) % vocabulary
    lengths = torch.tensor([5, 3, 4, 1])
    mask = (torch.arange(5) < lengths[:, None]).long()
    wave = torch.sin(torch.arange(20.0)).reshape(4, 5)
    return {
        "prompt_ids": prompts,
        "prompt_mask": torch.tensor([[1, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1]]),
        "completion_ids": completions,
        "completion_mask": mask,
        "advantages": torch.tensor([1.0, -0.5, 0.3, -1.2]),
        "old_per_token_logps": -4.0 + 0.3 * wave,
        "ref_per_token_logps": -4.0 - 0.5 * wave,
        "num_items_in_batch": mask.sum(),
    }
