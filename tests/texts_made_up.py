"""Made-up texts whose class shows in their words, and whose classes' names occur in them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

THEMES = {
    "tea": ["tea", "cup", "pot", "leaf", "kettle", "steep", "green", "black", "brew", "sip"],
    "rain": ["rain", "cloud", "storm", "wet", "umbrella", "puddle", "drizzle", "grey", "sky", "drop"],
    "music": ["music", "song", "violin", "drum", "melody", "choir", "concert", "note", "singer", "band"],
    "old_stones": ["stone", "stones", "castle", "ruin", "wall", "old", "tower", "arch", "temple", "carved"],
}
FILLER = ["the", "a", "of", "and", "very", "quite", "some", "with", "then", "again"]


def rows(count: int = 160, seed: int = 0, words: int = 8) -> list[dict[str, str]]:
    """Texts of ``words`` words, half of them of the theme; classes are unequal: 4 : 3 : 2 : 1."""
    draw = np.random.default_rng(seed)
    names = list(THEMES)
    found = []
    for number in range(count):
        name = names[(0, 0, 0, 0, 1, 1, 1, 2, 2, 3)[number % 10]]
        own = draw.choice(THEMES[name], words // 2)
        text = " ".join(draw.permutation([*own, *draw.choice(FILLER, words - words // 2)]))
        found.append({"text": text, "label": name})
    return found


def write_csv(path: Path, table: list[dict[str, str]]) -> str:
    """Write rows as a CSV file; return its path."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return str(path)
