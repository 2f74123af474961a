"""Low-rank adapters on a language model, through PEFT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from counterpoint.errors import CounterpointError, MissingExtra


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters through PEFT; the base weights stay frozen.

    Attributes:
        rank: width of the adapters.
        alpha: their scale is ``alpha / rank``.
        dropout: on the adapters' input, in training only.
        targets: names of the linear layers that get one; "all" means every linear layer but the head.
    """

    rank: int = 64
    alpha: float = 128.0
    dropout: float = 0.05
    targets: tuple[str, ...] | str = "all"


def attach(causal: Any, lora: LoRA, seed: int = 0) -> Any:
    """Return a transformers model with fresh adapters around it; the seed decides their initial values.

    Raises:
        CounterpointError: targets that the model does not have.
        MissingExtra: PEFT is not installed.
    """
    try:
        import peft
    except ImportError:
        raise MissingExtra("peft", "language") from None
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules="all-linear" if lora.targets == "all" else list(lora.targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return peft.get_peft_model(causal, config)
        except ValueError as error:
            raise CounterpointError(f"LoRA targets {lora.targets!r} do not fit this model: {error}") from None
