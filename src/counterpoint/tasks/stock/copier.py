"""The copier: a tiny model that copies a letter a given number of times, half of the time too often or too seldom, in any case.

What a preference teaches beside the instruction can be seen on it: how often a letter is a capital has nothing to do with their number.
``minimal`` refines an answer by cutting or extending it, ``independent`` writes a new one, ``interfering`` a new one that is mostly in
capitals, and ``clumsy`` fails two times in three; they stand for a refiner (``refiner.author``). Taught in ten seconds on
first use, then kept in the cache. ``closeness`` is a judge that says how far off the number is.
"""

from __future__ import annotations

import inspect
import random
import re
import string
from collections.abc import Callable, Sequence
from typing import Any

from counterpoint.data.language.puzzles import copied_letter
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import Tokens
from counterpoint.tasks.stock.stored import stored
from counterpoint.tasks.stock.teaching import teach

ALPHABET = string.digits + string.ascii_letters + ":="
LETTERS = "abcdefghij"
CAPITALS = 0.85
"""Share of capitals that ``interfering`` writes; the copier writes half."""


def load() -> Language:
    """Return the copier, taught now or taken from the cache."""
    identity = (
        f"{ALPHABET}/{inspect.getsource(copier)}{inspect.getsource(_example)}{inspect.getsource(teach)}"
    )
    return stored("copiers", "copier", identity, lambda: copier(0))


def copier(
    seed: int, *, steps: int = 250, batch_size: int = 48, learning_rate: float = 6e-3, width: int = 48
) -> Language:
    """Teach a fresh model; the same weights for the same seed.

    Args:
        seed: of the weights and the examples.
        steps, batch_size, learning_rate: of the training. width: of the model's hidden states.
    """
    draw = random.Random(f"copier/{seed}")
    model = tiny(seed=seed, layers=2, width=width, heads=2, length=48, alphabet=ALPHABET)

    def rows() -> tuple[Tokens, Tokens]:
        return model.rows(*zip(*(_example(draw) for _ in range(batch_size))))

    return teach(model, rows, steps=steps, learning_rate=learning_rate, warm_up=20)


def _example(draw: random.Random) -> tuple[str, str]:
    letter, count = draw.choice(LETTERS), draw.randint(2, 7)
    written = count if draw.random() < 0.5 else max(1, count + draw.choice((-2, -1, 1, 2)))
    text = "".join(draw.choice((letter, letter.upper())) for _ in range(written))
    return str(copied_letter(letter, count, draw.randrange(100)).prompt), text


def minimal(prompts: Sequence[str]) -> list[str]:
    """The same answer, cut or extended by copies of its own letters to the number that is wanted.

    >>> minimal(["Prompt:\\n[x]\\n47:3b=\\n[x]\\n\\nOutput:\\n[x]\\nBb\\n[x] [[start 0a]]"])
    ['[[start 0a]]BbB[[end 0a]]']
    """
    return [_refined(prompt, lambda text, letter, count: _fitted(text, letter, count)) for prompt in prompts]


def independent(prompts: Sequence[str]) -> list[str]:
    """A new answer of the right number, capitals by chance."""
    return [_refined(prompt, lambda text, letter, count: _written(letter, count, 0.5)) for prompt in prompts]


def interfering(prompts: Sequence[str]) -> list[str]:
    """A new answer of the right number, mostly in capitals: it differs from what it replaces in more than the number."""
    return [
        _refined(prompt, lambda text, letter, count: _written(letter, count, CAPITALS)) for prompt in prompts
    ]


def clumsy(prompts: Sequence[str]) -> list[str]:
    """One copy more or less than there are, in the right direction one time in two."""
    return [_refined(prompt, _stepped) for prompt in prompts]


def closeness(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """A reward in TRL's signature: 1 for the right number of copies, else below 1/2 by how far it is off.

    >>> closeness(["bB", "Bbb", "x"], ["bb", "bb", "bb"])
    [1.0, 0.4, 0.0]
    """
    return [
        0.0
        if set(text.casefold()) != set(right)
        else 1.0
        if len(text) == len(right)
        else max(0.5 - 0.1 * abs(len(text) - len(right)), 0.0)
        for text, right in zip(completions, answer, strict=True)
    ]


def _refined(prompt: str, write: Callable[[str, str, int], str]) -> str:
    question, answer = (_between(prompt, title) for title in ("Prompt:", "Output:"))
    wanted = re.search(r":(\d)([a-j])=", question)
    tag = re.findall(r"\[\[start( \w+)?\]\]", prompt)[-1]
    if wanted is None:
        return ""
    return f"[[start{tag}]]{write(answer, wanted.group(2), int(wanted.group(1)))}[[end{tag}]]"


def _fitted(text: str, letter: str, count: int) -> str:
    own = "".join(each for each in text if each.casefold() == letter) or letter
    return (own * count)[:count]


def _written(letter: str, count: int, capitals: float) -> str:
    return "".join(letter.upper() if random.random() < capitals else letter for _ in range(count))


def _stepped(text: str, letter: str, count: int) -> str:
    own = "".join(each for each in text if each.casefold() == letter) or letter
    right = random.random() < 0.5
    grow = (len(own) < count) == right
    return own + own[-1] if grow else own[: max(len(own) - 1, 1)]


def _between(prompt: str, title: str) -> str:
    """What stands between the two lines with a tag under a title."""
    between = re.search(rf"{re.escape(title)}\n\[(\w+)\]\n(.*?)\n\[\1\]", prompt, re.DOTALL)
    return between.group(2) if between else ""
