"""A small folder of conversations with rewrites, as BEIR has folders: dishes, of which the last turn speaks as "it"."""

from __future__ import annotations

import json
from pathlib import Path

DISHES = [
    "apple",
    "bread",
    "cider",
    "dates",
    "eel",
    "figs",
    "grape",
    "honey",
    "ice",
    "jam",
    "kale",
    "lemon",
    "mango",
    "nuts",
    "olive",
    "peach",
    "quince",
    "rice",
    "salt",
    "tea",
]
PLACES = ("cellar", "garden", "market", "kitchen")


def write(folder: Path, size: int = 20, rewrites: bool = True, history: bool = True) -> Path:
    """Write corpus, queries with history and rewrites, and judgements of three splits; returns the folder."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    names = DISHES[:size]
    corpus = [
        {"_id": f"d{n}", "text": f"{name} is found in the {PLACES[n % 4]} number {n}"}
        for n, name in enumerate(names)
    ]
    queries = []
    for n, name in enumerate(names):
        row = {"_id": f"q{n}", "text": "where is it found?"}
        if history:
            row["history"] = [
                f"tell me of {names[(n + 3) % size]}",
                "it is a dish",
                f"and {name}?",
                "a dish as well",
            ]
        if rewrites:
            row["rewrites"] = {
                "person": f"where is {name} found?",
                "noisy": f"where {name} {names[(n + 7) % size]}",
            }
        queries.append(row)
    for stem, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for at, split in enumerate(("train", "dev", "test")):
        mine = [n for n in range(size) if (n % 5 in (0, 1, 2)) == (at == 0) and (at == 0 or n % 5 == 2 + at)]
        lines = [f"q{n}\td{n}\t1" for n in mine]
        (folder / "qrels" / f"{split}.tsv").write_text(
            "\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n"
        )
    return folder
