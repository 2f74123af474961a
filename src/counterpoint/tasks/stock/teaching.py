"""How stock models are taught: supervised steps on rows that are made as they are needed."""

from __future__ import annotations

from collections.abc import Callable

import torch

from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.tokens import Tokens


def teach(
    model: Language,
    rows: Callable[[], tuple[Tokens, Tokens]],
    *,
    steps: int,
    learning_rate: float,
    warm_up: int,
    fall: float = 0.9,
) -> Language:
    """Return the model after AdamW on the mean likelihood of completion tokens; the same weights for the same rows.

    Args:
        model: trained in place.
        rows: makes the prompts and completions of the next step, N of each.
        steps: of training.
        learning_rate: at its highest. It rises over ``warm_up`` steps, and falls by a share of ``fall`` to the end.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / warm_up) * (1.0 - fall * step / steps)
        prompts, completions = rows()
        loss = -completion_log_probs(model, prompts, completions).sum() / completions.mask.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()
