"""A small folder as BEIR has them: letters spelt out as queries, and the words that begin with them as documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

WORDS = ("apple", "bread", "cider", "dates", "eel", "figs", "grape", "honey", "ice", "jam", "kale", "lemon")


def write(folder: Path, splits: Sequence[str] = ("train", "dev", "test"), size: int = 12) -> Path:
    """Write corpus, queries and judgements, the queries divided among the splits; returns the folder."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    corpus = [
        {"_id": f"d{n}", "title": "food" if n % 2 else "", "text": f"{word} is good {n}"}
        for n, word in enumerate(WORDS[:size])
    ]
    queries = [{"_id": f"q{n}", "text": f"what begins with {word[0]}"} for n, word in enumerate(WORDS[:size])]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for at, split in enumerate(splits):
        mine = [n for n in range(size) if n % len(splits) == at]
        lines = [f"q{n}\td{n}\t{1 + n % 2}" for n in mine] + [f"q{n}\td{(n + 1) % size}\t0" for n in mine]
        (folder / "qrels" / f"{split}.tsv").write_text(
            "\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n"
        )
    return folder
