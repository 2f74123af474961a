"""A tiny model that writes proofs and statements of words at random, for tests of self-play; taught in a second or two."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.tasks.stock.teaching import teach

PROVER = "rewriting:A: a -> b; B: b -> c; C: c -> ab"
TARGETS = [
    "b=ab", "c=bb", "a=ab", "ab=bb", "c=bc", "aa=bb", "c=cc", "a=abab", "b=aabb", "bb=cc", "ba=cab", "cab=abc", "ac=bc", "ca=cb",
]  # fmt: skip
SETTINGS: dict[str, object] = {
    "prover": PROVER, "rounds": 3, "answers": 8, "max_new_tokens": 10, "learning_rate": 3e-3, "batch_size": 5,
    "conjecturer.template": "{statement}>", "conjecturer.max_new_tokens": 8, "conjecturer.learning_rate": 3e-3,
    "conjecturer.batch_size": 4, "guide.kind": "rubric", "solver.most": 0.8, "solver.skip": "",
}  # fmt: skip


def model(seed: int = 0, steps: int = 80) -> Language:
    """Taught to write one to three steps, and equations of one or two letters, whatever it is shown."""
    draw = random.Random(seed)
    fresh = tiny(seed=seed, layers=1, width=32, heads=2, length=64, alphabet="abcABC=|>0123")

    axioms = {"a=b": "A0", "b=c": "B0", "c=ab": "C0", "a=c": "A0B0"}

    def example() -> tuple[str, str]:
        equation = "=".join("".join(draw.choice("abc") for _ in range(draw.randint(1, 2))) for _ in range(2))
        if draw.random() < 0.5:
            return f"{equation}>", draw.choice([*axioms, equation])
        written = "".join(draw.choice("ABC") + "0" for _ in range(draw.randint(1, 2)))
        if draw.random() < 0.5:
            equation = draw.choice(list(axioms))
            written = draw.choice((axioms[equation], written))
        return equation, written

    return teach(
        fresh,
        lambda: fresh.rows(*zip(*(example() for _ in range(32)))),
        steps=steps,
        learning_rate=1e-2,
        warm_up=5,
    )


def data(folder: Path, targets: list[str] = TARGETS) -> str:
    """A file of targets, enough for three splits."""
    path = folder / "targets.jsonl"
    partial = folder / f"targets-{os.getpid()}.partial"  # several processes may write it at once
    partial.write_text("".join(json.dumps({"prompt": each}) + "\n" for each in targets))
    os.replace(partial, path)
    return str(path)
