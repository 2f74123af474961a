"""The tagger: a tiny model that writes the last digit of a sum in two tags that its prompt names, six times in ten in a wrong form.

It is taught all pairs of ten tag names alike, so that what a cold start on one pair does to the others can be seen. Taught in half a
minute on first use, then kept in the cache.
"""

from __future__ import annotations

import inspect
import random
import string

from counterpoint.data.language.puzzles import tagged_sum
from counterpoint.data.language.tagged import CORRUPTIONS, Tags
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import Tokens
from counterpoint.tasks.stock.stored import stored
from counterpoint.tasks.stock.teaching import teach

NAMES = "abcdefghij"
WELL_FORMED = 0.4
ALPHABET = string.digits + NAMES + "<>/:+=Answer "


def load() -> Language:
    """Return the tagger, taught now or taken from the cache."""
    sources = inspect.getsource(tagger) + inspect.getsource(_example) + inspect.getsource(teach)
    return stored("taggers", "tagger", f"{ALPHABET}/{WELL_FORMED}/{CORRUPTIONS}/{sources}", lambda: tagger(0))


def tagger(
    seed: int, *, steps: int = 600, batch_size: int = 48, learning_rate: float = 5e-3, width: int = 64
) -> Language:
    """Teach a fresh model; the same weights for the same seed.

    Args:
        seed: of the weights and the examples.
        steps, batch_size, learning_rate: of the training. width: of the model's hidden states.
    """
    draw = random.Random(f"tagger/{seed}")
    model = tiny(seed=seed, layers=2, width=width, heads=4, length=64, alphabet=ALPHABET)

    def rows() -> tuple[Tokens, Tokens]:
        return model.rows(*zip(*(_example(draw) for _ in range(batch_size))))

    return teach(model, rows, steps=steps, learning_rate=learning_rate, warm_up=30, fall=0.95)


def _example(draw: random.Random) -> tuple[str, str]:
    names = "".join(draw.sample(NAMES, 2))
    problem = tagged_sum(draw.randrange(10), draw.randrange(10), draw.randrange(10), names)
    tags = Tags(*names)
    formed = draw.random() < WELL_FORMED
    text = problem.solution if formed else tags.corrupted(problem.solution, draw.choice(CORRUPTIONS))
    return str(problem.prompt), text
