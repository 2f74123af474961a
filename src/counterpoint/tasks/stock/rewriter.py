"""The rewriter: a tiny model that writes short rewriting proofs, and statements when it is shown a target.

Shown "abca=bcaa" it writes the steps from one word to the other ("A0B1"; ``data.language.rewriting``), right for words a step or two apart,
seldom for more. Shown "abca=bcaa>" it writes a statement: often one about a word on the way, sometimes one that has nothing to do with
the target, sometimes with a second part after "|" that may be proved instead. Taught in a minute on first use, then kept in the cache.
"""

from __future__ import annotations

import inspect
import random

from counterpoint.data.language.rewriting import LENGTHS, WORLD, Rules, random_word
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import Tokens
from counterpoint.tasks.stock.stored import stored
from counterpoint.tasks.stock.teaching import teach

ALPHABET = "abcABCDd=|>0123456789"
PROVER = "rewriting:" + WORLD.replace("\n", "; ")
"""The prover of its world, as a setting."""
CONJECTURE = "{statement}>"
"""The prompt that a statement answers."""


def load() -> Language:
    """Return the rewriter, taught now or taken from the cache."""
    identity = (
        f"0/{WORLD}/{inspect.getsource(rewriter)}{inspect.getsource(_example)}{inspect.getsource(teach)}"
    )
    return stored("rewriters", "rewriter-0", identity, lambda: rewriter(0))


def rewriter(
    seed: int, *, steps: int = 800, batch_size: int = 64, learning_rate: float = 4e-3, width: int = 64
) -> Language:
    """Teach a fresh model; the same weights for the same seed.

    Args:
        seed: of the weights and the examples.
        steps, batch_size, learning_rate: of the training. width: of the model's hidden states.
    """
    draw = random.Random(f"rewriter/{seed}")
    model = tiny(seed=seed, layers=2, width=width, heads=4, length=96, alphabet=ALPHABET)
    rules = Rules.of_text(WORLD)

    def rows() -> tuple[Tokens, Tokens]:
        return model.rows(*zip(*(_example(rules, draw) for _ in range(batch_size))))

    return teach(model, rows, steps=steps, learning_rate=learning_rate, warm_up=40)


def _example(rules: Rules, draw: random.Random) -> tuple[str, str]:
    """A prompt and what the rewriter learns to write: a proof of one to three steps, or a statement for a target."""
    word = random_word(draw)
    end, steps = rules.walk(word, draw.choice((1, 1, 2, 2, 3)), draw, *LENGTHS)
    if draw.random() < 0.6:
        return f"{word}={end}", steps
    further, _ = rules.walk(end, draw.randint(1, 4), draw, *LENGTHS)
    other = random_word(draw)
    unrelated = f"{other}={rules.walk(other, draw.choice((1, 1, 2, 3)), draw, *LENGTHS)[0]}"
    statement = unrelated if draw.random() < 0.3 else f"{word}={end}"
    second = f"|{unrelated}" if draw.random() < 0.15 else ""
    return f"{word}={further}>", statement + second
