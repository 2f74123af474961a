"""The guesser: a tiny model that guesses letters, and knows the right one when it is told which letter it follows.

Asked "c47=", whose answer is the letter after c, it writes any of ten letters; criticised, "h#c47=>c", it writes d. What text feedback
teaches and what a reward alone teaches can be told apart with it in seconds. Taught in about ten seconds on first use, then kept in the
cache.
"""

from __future__ import annotations

import inspect
import random
import string
from collections.abc import Sequence
from typing import Any

from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import Tokens
from counterpoint.tasks.stock.stored import stored
from counterpoint.tasks.stock.teaching import teach

ALPHABET = string.ascii_lowercase + string.digits + "=>#?"
TEMPLATE = "{attempt}#{prompt}{feedback}"
"""How it is shown an attempt and its critique."""
CRITIQUE_TEMPLATE = "{attempt}?{prompt}"
"""How it is asked for a critique."""
LETTERS = string.ascii_lowercase[:10]


def critique(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[str]:
    """Feedback in TRL's signature: which letter the right one follows.

    >>> critique(["h"], ["d"])
    ['>c']
    """
    return [f">{LETTERS[(LETTERS.index(right) - 1) % len(LETTERS)]}" for right in answer]


def only_wrong(completions: Sequence[str], **_: Any) -> list[str]:
    """Feedback in TRL's signature that says no more than that the attempt is wrong."""
    return ["x" for _ in completions]


def load(seed: int) -> Language:
    """Return the guesser of a seed, taught now or taken from the cache."""
    identity = f"{seed}/{inspect.getsource(guesser)}{inspect.getsource(_example)}{inspect.getsource(teach)}"
    return stored("guessers", f"guesser-{seed}", identity, lambda: guesser(seed))


def guesser(
    seed: int, *, steps: int = 400, batch_size: int = 48, learning_rate: float = 4e-3, width: int = 64
) -> Language:
    """Teach a fresh model; the same weights for the same seed.

    Args:
        seed: of the weights and the examples.
        steps, batch_size, learning_rate: of the training. width: of the model's hidden states.
    """
    draw = random.Random(f"guesser/{seed}")
    model = tiny(seed=seed, layers=2, width=width, heads=2, length=64, alphabet=ALPHABET)

    def rows() -> tuple[Tokens, Tokens]:
        return model.rows(*zip(*(_example(draw) for _ in range(batch_size))))

    return teach(model, rows, steps=steps, learning_rate=learning_rate, warm_up=40)


def _example(draw: random.Random) -> tuple[str, str]:
    """A prompt and what the guesser learns to write: any letter, but the right one after a critique; and critiques of nothing."""
    question = f"{draw.choice(LETTERS)}{draw.randrange(10)}{draw.randrange(10)}="
    attempt, named, guess = (draw.choice(LETTERS) for _ in range(3))
    kind = draw.random()
    if kind < 0.2:
        return question, guess
    if kind < 0.85:
        return f"{attempt}#{question}>{named}", LETTERS[(LETTERS.index(named) + 1) % len(LETTERS)]
    if kind < 0.95:
        return f"{attempt}#{question}x", guess
    return f"{attempt}?{question}", f">{named}"
