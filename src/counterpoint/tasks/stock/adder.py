"""A small model that learnt sums from a teacher who errs: where self-rewarding can go wrong, on a laptop.

A character-level Llama of 2 layers is taught two-digit sums, results written backwards, of which a share has one wrong
digit. It ends up mostly right and unsure, as a large instruct model is about its own answers. Problems of the data at
hand are never among what it was taught. Made in about twenty seconds on first use, then kept in the cache.
"""

from __future__ import annotations

import inspect
import random

import torch

from counterpoint.data.language.problems import ProblemData
from counterpoint.data.language.puzzles import backward_sum
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.tasks.stock.stored import stored

ALPHABET = "0123456789+="


def load(data: ProblemData, seed: int) -> Language:
    """Return the adder of a seed for this data, taught now or taken from the cache."""
    identity = f"{seed}/{data.fingerprint()}/{inspect.getsource(adder)}{inspect.getsource(_spoil)}"
    return stored("adders", f"adder-{seed}", identity, lambda: adder(data, seed))


def adder(
    data: ProblemData,
    seed: int,
    *,
    examples: int = 6000,
    wrong: float = 0.35,
    steps: int = 700,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    width: int = 48,
) -> Language:
    """Teach a fresh model; the same weights for the same seed and data.

    Args:
        data: backward sums of two digits; their prompts are held out.
        seed: of the weights, the examples, the mistakes and the order.
        examples: how many sums it sees. wrong: share of them with one wrong digit.
        steps, batch_size, learning_rate: of the training. width: of the model's hidden states.
    """
    held_out = {row.key() for part in (data.train, data.validation, data.test) for row in part}
    every = [backward_sum(one, other, 2) for one in range(100) for other in range(100)]
    free = [row for row in every if row.key() not in held_out]
    if len(free) == len(every):
        raise CounterpointError(
            "the model 'adder' is taught backward sums of two digits, and this data holds none; use the data "
            "'backward-sums?digits=2&size=1736', or another model"
        )
    if len(free) < examples:
        raise CounterpointError(
            f"the data leaves {len(free)} sums to teach the model 'adder' with, and it needs {examples}"
        )
    draw = random.Random(f"adder/{seed}")
    taught = draw.sample(free, examples)
    solutions = [_spoil(row.solution, draw) if draw.random() < wrong else row.solution for row in taught]
    model = tiny(seed=seed, layers=2, width=width, heads=4, length=64, alphabet=ALPHABET)
    prompts, completions = model.rows([row.prompt for row in taught], solutions)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    order = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 50) * (1.0 - 0.9 * step / steps)
        rows = torch.randint(examples, (batch_size,), generator=order)
        chosen = completions[rows]
        loss = -completion_log_probs(model, prompts[rows], chosen).sum() / chosen.mask.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def _spoil(digits: str, draw: random.Random) -> str:
    index = draw.randrange(len(digits))
    other = draw.choice([digit for digit in "0123456789" if digit != digits[index]])
    return digits[:index] + other + digits[index + 1 :]
