"""Questions about small noisy pictures of handwritten digits: which half of the digits is it in, in several wordings.

The pictures are scikit-learn's digits (1,797 of 8 x 8 pixels). The solution names the digit, then the answer that follows from it: a
reader that takes a 7 for a 1 may well answer right, for a wrong reason. Pictures of a split are in no other split.
"""

from __future__ import annotations

import base64
import hashlib
import io
import random
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from counterpoint.conversation import Conversation
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError

WORDINGS = {
    "parity": ("odd or even?", "even or odd?", "is it even or odd?", "an even or odd one?"),
    "size": ("above four?", "is it above four?", "more than four?", "is it more than four?"),
    "loop": ("has it a loop?", "is there a loop?", "with a loop?", "any loop in it?"),
}
"""Each question, in words that mean the same."""
ANSWERS: dict[str, str] = {"parity": "eoeoeoeoeo", "size": "nnnnnyyyyy", "loop": "ynnnnnynyy"}
"""The answer to each question, by digit."""
TAUGHT = 597
"""How many of the pictures, the first ones, are for teaching a reader, and in no split."""
NOISE = 0.3
"""Standard deviation of the noise on every pixel, of a white one's brightness."""


def picture(number: int, noise: float = NOISE, copy: int = 0) -> dict[str, Any]:
    """A picture with its own noise (another one for each copy), as a part of a message.

    >>> picture(0)["type"], picture(0) == picture(0), picture(0) == picture(0, noise=0.0)
    ('image', True, False)
    """
    from PIL import Image

    clean, _ = _digits()
    spread = np.random.Generator(np.random.PCG64([number, copy])).normal(0.0, noise, clean[number].shape)
    pixels = np.clip(255 * (clean[number] + spread), 0, 255).astype(np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(written, "PNG")
    content = written.getvalue()
    source = "data:image/png;base64," + base64.b64encode(content).decode()
    return {"type": "image", "image": source, "sha256": hashlib.sha256(content).hexdigest()}


def digit(number: int) -> int:
    """What a picture shows."""
    return int(_digits()[1][number])


def alike(first: int, count: int) -> list[list[int]]:
    """For each of the first pictures those of them that are most like it without noise, the nearest first."""
    rows = _digits()[0][:first].reshape(first, -1)
    squares = (rows**2).sum(1)
    far = squares[:, None] + squares - 2 * rows @ rows.T + np.diag(np.full(first, np.inf))
    return np.argsort(far, axis=1, kind="stable")[:, :count].tolist()


def question(number: int, about: str, wording: str, noise: float = NOISE, copy: int = 0) -> Problem:
    """One question about one picture.

    >>> made = question(7, "parity", "odd or even?")
    >>> made.question, made.solution, made.answer
    ('odd or even?', '7;o', 'o')
    """
    shown = digit(number)
    answer = ANSWERS[about][shown]
    content = [picture(number, noise, copy), {"type": "text", "text": wording}]
    return Problem(
        Conversation([{"role": "user", "content": content}]),
        solution=f"{shown};{answer}",
        answer=answer,
        meta={"dataset": "digits"},
    )


def load(options: Mapping[str, float]) -> dict[str, list[Problem]]:
    """Three splits of questions, each about pictures of its own.

    Raises:
        CounterpointError: more questions than there are.
    """
    wanted = {name: int(options[name]) for name in ("test", "validation")} | {"train": int(options["size"])}
    draw = random.Random(f"digit-questions/{options['seed']}")
    pool = list(range(TAUGHT, len(_digits()[0])))
    draw.shuffle(pool)
    total, at, parts = sum(wanted.values()), 0, {}
    for split, count in wanted.items():
        share = len(pool) * count // total if total else 0
        numbers, at = pool[at : at + share], at + share
        chosen = [(n, about, words) for n in numbers for about, each in WORDINGS.items() for words in each]
        if count > len(chosen):
            raise CounterpointError(
                f"digit-questions: {split} is to have {count} questions, and {len(chosen)} can be made of its {share} pictures; lower "
                "size, validation or test"
            )
        parts[split] = [question(*each, options["noise"]) for each in draw.sample(chosen, count)]
    return parts


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures [1797, 8, 8] in [0, 1], and what they show."""
    from sklearn.datasets import load_digits

    made = load_digits()
    return made.images / 16.0, made.target
