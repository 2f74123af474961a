"""Described things: small preferences made from a seed, in words, whose quality can be counted and is not a matter of length.

A prompt names four facts (who owns what, its colour, what it is, its ears); an answer is clauses, each of which says one fact or
nothing. What is right counts for it, what is wrong against it. Of two answers the one that counts more is chosen, by a margin.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from counterpoint.data.language.preference_rows import Preference
from counterpoint.data.language.reasoning import parse
from counterpoint.errors import CounterpointError, nearest

FACTS: dict[str, tuple[str, ...]] = {
    "owner": ("kim", "ana", "leo", "mia", "tom", "eva", "max", "zoe", "ben", "ida"),
    "colour": ("red", "blue", "green", "black", "white", "brown", "grey", "pink"),
    "kind": ("dog", "cat", "cow", "fox", "hen", "owl", "pig", "rat", "bee", "ant"),
    "ears": ("long", "short", "round", "soft", "torn", "flat", "stiff", "wide"),
}
"""What may be true of a thing, by the name of the fact."""
CLAUSES = {
    "owner": "it is with {}",
    "colour": "it is {}",
    "kind": "this is a {}",
    "ears": "it has {} ears",
}
FILLERS = ("and so it is", "that is what it is", "as it was before")
"""Clauses that say nothing."""
OPTIONS: dict[str, float] = {"size": 1200, "validation": 100, "test": 200, "flipped": 0.0, "seed": 0}
PATTERNS = {name: re.compile(clause.format(r"(\w+)")) for name, clause in CLAUSES.items()}


def facts(prompt: str) -> dict[str, str]:
    """The four facts that a prompt names.

    >>> facts("describe kim red dog long:")["colour"]
    'red'
    """
    return dict(zip(FACTS, prompt.rstrip(":").split()[1:], strict=True))


def quality(prompt: str, answer: str) -> int:
    """How many of a prompt's facts an answer says right, less those that it says wrong; saying one twice counts once.

    >>> quality("describe kim red dog long:", " it is red, this is a cat, it is with kim")
    1
    """
    truth, total = facts(prompt), 0
    clauses = [clause.strip() for clause in answer.split(",")]
    for name, pattern in PATTERNS.items():
        values = {match[1] for clause in clauses if (match := pattern.fullmatch(clause))}
        values &= set(FACTS[name])
        total += 1 if values == {truth[name]} else -1 if values else 0
    return total


def prompt(draw: random.Random) -> str:
    """A prompt with four facts."""
    return "describe " + " ".join(draw.choice(values) for values in FACTS.values()) + ":"


def answer(asks: str, draw: random.Random, right: float = 0.6, wrong: float = 0.2) -> str:
    """An answer in any order, with one or two fillers.

    Args:
        asks: the prompt. draw: random numbers. right, wrong: chance that a fact is said right, and wrong; else it is left out.
    """
    clauses = [draw.choice(FILLERS) for _ in range(draw.randint(1, 2))]
    for name, value in facts(asks).items():
        chance = draw.random()
        if chance < right:
            clauses.append(CLAUSES[name].format(value))
        elif chance < right + wrong:
            clauses.append(CLAUSES[name].format(draw.choice([v for v in FACTS[name] if v != value])))
    draw.shuffle(clauses)
    return " " + ", ".join(clauses)


def pair(draw: random.Random) -> Preference:
    """A pair whose answers are of about one length: within one clause."""
    asks = prompt(draw)
    while True:
        one, other = answer(asks, draw), answer(asks, draw)
        margin = quality(asks, one) - quality(asks, other)
        if margin and abs(one.count(",") - other.count(",")) <= 1:
            better, worse = (one, other) if margin > 0 else (other, one)
            return Preference(asks, better, worse, float(abs(margin)))


def described(spec: str) -> dict[str, list[Preference]]:
    """The splits of "described-things?size=1200&flipped=0.1&seed=3".

    Raises:
        CounterpointError: an option that there is not, or sizes that leave nothing to train on.
    """
    _, given = parse("described:" + spec)
    for name in given:
        if name not in OPTIONS:
            raise CounterpointError(f"described-things has no option '{name}'; {nearest(name, OPTIONS)}")
    options = {**OPTIONS, **given}
    sizes = {name: int(options[name]) for name in ("validation", "test")}
    left = int(options["size"]) - sum(sizes.values())
    if left < 1 or min(sizes.values()) < 0 or not 0 <= options["flipped"] < 1:
        raise CounterpointError(
            f"{spec}: expected a size above validation + test, and flipped from 0 to below 1"
        )
    draw = random.Random(f"described-things/{int(options['seed'])}")
    seen: set[str] = set()
    rows: list[Preference] = []
    while len(rows) < int(options["size"]):
        row = pair(draw)
        if row.key() not in seen:
            seen.add(row.key())
            rows.append(row)
    parts = {
        "test": rows[: sizes["test"]],
        "validation": rows[sizes["test"] : sizes["test"] + sizes["validation"]],
        "train": rows[sum(sizes.values()) :],
    }
    parts["train"] = [_flipped(row) if draw.random() < options["flipped"] else row for row in parts["train"]]
    return parts


def words() -> list[str]:
    """Every word that prompts and answers are made of."""
    texts: Sequence[str] = [
        "describe",
        *FILLERS,
        *CLAUSES.values(),
        *(v for vs in FACTS.values() for v in vs),
    ]
    return sorted({word for text in texts for word in re.findall(r"\w+", text)})


def _flipped(row: Preference) -> Preference:
    return Preference(row.prompt, row.rejected, row.chosen, row.margin)
