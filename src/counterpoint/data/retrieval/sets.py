"""The bundled retrieval sets, of encyclopedia articles: their short descriptions as queries, or conversations about them."""

from __future__ import annotations

from counterpoint.bundled.convert import data as bundled
from counterpoint.data.retrieval.load import Retrieval, build
from counterpoint.data.retrieval.made_conversations import conversations
from counterpoint.errors import CounterpointError, nearest

DESCRIPTIONS, CONVERSATIONS = "wiki-descriptions", "wiki-conversations"
BUNDLED = (DESCRIPTIONS, CONVERSATIONS)


def load(
    name: str,
    *,
    language: str = "en",
    documents: int = 2000,
    words: int = 60,
    limit: int | None = None,
    validation: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
) -> Retrieval:
    """Load a bundled set; options as in ``data.retrieval.load.load_retrieval``, and

    Args:
        language: en, fr or es.
        documents: as many of the articles, drawn once. words: of each lead.

    The splits of ``wiki-conversations`` are its own: whole topics are in ``test`` alone.
    """
    if name not in BUNDLED:
        raise CounterpointError(f"there is no bundled retrieval data '{name}'; {nearest(name, BUNDLED)}")
    if language not in ("en", "fr", "es"):
        raise CounterpointError(f"language='{language}'; expected en, fr or es")
    import pyarrow.parquet as parquet
    import torch

    table = parquet.read_table(bundled.path("wiki-vital")).to_pylist()
    rows = [row for row in table if row["language"] == language and row["text"] and row["description"]]
    draws = torch.Generator().manual_seed(0)
    rows = [rows[at] for at in sorted(torch.randperm(len(rows), generator=draws)[:documents].tolist())]
    if name == CONVERSATIONS:
        return conversations(rows, words=words, limit=limit)
    keys = [str(number) for number in range(len(rows))]
    leads = {key: " ".join(row["text"].split()[:words]) for key, row in zip(keys, rows)}
    queries = {key: row["description"] for key, row in zip(keys, rows)}
    note = f"a query is an article's short description; its document, the first {words} words of its lead"
    return build(
        leads, queries, {"train": [(key, key, 1.0) for key in keys]}, name, [note],
        validation=validation, test=test, seed=seed, limit=limit,
    )  # fmt: skip
