"""A small model with two styles and no preference, that understands a complaint about style when it is shown one.

A character-level Llama of 2 layers is taught to repeat three letters, in capitals or not with equal chance. A later message in its
prompt decides: "big" asks for capitals, "low" for small letters, "sun" is about something else. Made in a quarter of a minute on first
use, then kept in the cache.
"""

from __future__ import annotations

import inspect
import random

import torch

from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.tasks.stock.stored import stored

LETTERS = "abcdefghij"
TEMPLATE = "{prompt}|{follow_up}"
"""How the stylist is shown a later message."""
MESSAGES = {"big": True, "low": False, "sun": None}
"""What it has learnt to make of later messages: capitals, small letters, nothing."""


def load() -> Language:
    """Return the stylist, taught now or taken from the cache."""
    return stored("stylists", "stylist", f"{MESSAGES}{inspect.getsource(stylist)}", stylist)


def stylist(
    *, steps: int = 400, batch_size: int = 64, learning_rate: float = 3e-3, width: int = 48
) -> Language:
    """Teach a fresh model.

    Args:
        steps, batch_size, learning_rate: of the training. width: of the model's hidden states.
    """
    draw = random.Random("stylist")
    alphabet = "".join(dict.fromkeys(LETTERS + LETTERS.upper() + "|" + "".join(MESSAGES)))
    model = tiny(seed=0, layers=2, width=width, heads=4, length=64, alphabet=alphabet)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 50) * (1.0 - 0.9 * step / steps)
        prompts, answers = [], []
        for _ in range(batch_size):
            letters = "".join(draw.sample(LETTERS, 3))
            message = draw.choice(["", *MESSAGES])
            wish = MESSAGES.get(message)
            capitals = draw.random() < 0.5 if wish is None else wish
            shown = TEMPLATE.replace("{prompt}", letters).replace("{follow_up}", message)
            prompts.append(shown if message else letters)
            answers.append(letters.upper() if capitals else letters)
        targets = model.completions(answers)
        loss = -completion_log_probs(model, model.prompts(prompts), targets).sum() / targets.mask.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()
