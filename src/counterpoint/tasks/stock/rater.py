"""The rater: a tiny model that answers pairs of letters badly, and rates answers well, best with somebody else's answer in view.

Asked "ab07=" it mostly guesses; after "ab07=>ed?", the anchor e and the candidate d, it writes 1 or 3, what it holds of d. Ranking
by one's own judgement can be tried with it in seconds. Taught in about half a minute on first use, then kept in the cache.
"""

from __future__ import annotations

import hashlib
import inspect
import random
from collections.abc import Sequence
from typing import Any

from counterpoint.data.language.noisy_anchors import LETTERS, TABLE
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import Tokens
from counterpoint.tasks.stock.stored import stored
from counterpoint.tasks.stock.teaching import teach

ALPHABET = LETTERS + "0123456789=>?:"
RATINGS = "1 3"
TEMPLATE = "{prompt}>{anchor}{candidate}?"
"""How it is asked to rate a candidate by an anchor."""
PLAIN_TEMPLATE = "{prompt}:{candidate}?"
"""How it is asked to rate a candidate by itself."""


def load() -> Language:
    """Return the rater, taught now or taken from the cache."""
    identity = f"{TABLE}/{inspect.getsource(rater)}{inspect.getsource(_example)}{inspect.getsource(teach)}"
    return stored("raters", "rater", identity, rater)


def rater(
    *, seed: int = 0, steps: int = 2000, batch_size: int = 64, learning_rate: float = 2e-3, width: int = 64
) -> Language:
    """Teach a fresh model; the same weights for the same seed.

    Args:
        seed: of the weights and the examples.
        steps, batch_size, learning_rate: of the training. width: of the model's hidden states.
    """
    draw = random.Random(f"rater/{seed}")
    model = tiny(seed=seed, layers=2, width=width, heads=4, length=64, alphabet=ALPHABET)

    def rows() -> tuple[Tokens, Tokens]:
        return model.rows(*zip(*(_example(draw) for _ in range(batch_size))))

    return teach(model, rows, steps=steps, learning_rate=learning_rate, warm_up=40)


def _example(draw: random.Random) -> tuple[str, str]:
    """A prompt and what the rater learns to write: mostly wrong letters to questions, and right ratings of letters.

    A fifth are questions, six of ten answered by chance; then ratings, a third of them without an anchor, which is right in
    seven of ten.
    """
    pair = draw.choice(LETTERS) + draw.choice(LETTERS)
    question, right = f"{pair}{draw.randrange(100):02d}=", TABLE[pair]
    guess, anchor = (right if draw.random() < share else draw.choice(LETTERS) for share in (0.4, 0.7))
    kind = draw.random()
    if kind < 0.2:
        return question, guess
    candidate = right if draw.random() < 0.5 else draw.choice(LETTERS)
    template = TEMPLATE if kind < 0.73 else PLAIN_TEMPLATE
    shown = template.replace("{prompt}", question).replace("{candidate}", candidate)
    return shown.replace("{anchor}", anchor), "3" if candidate == right else "1"


def chance(completions: Sequence[str], **_: Any) -> list[float]:
    """A judge in TRL's signature whose rewards say nothing: digests of the letters with their position.

    >>> len(set(chance(["a", "a", "b"])))
    3
    """
    return [
        int(hashlib.sha256(f"{at}/{text}".encode()).hexdigest()[:8], 16) / 2**31
        for at, text in enumerate(completions)
    ]
