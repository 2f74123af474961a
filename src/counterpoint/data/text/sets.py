"""The bundled texts: quotations by topic, news by desk, and the leads of encyclopedia articles by subject."""

from __future__ import annotations

from counterpoint.bundled.convert import data as bundled
from counterpoint.data.text.load import Texts, build
from counterpoint.data.text.rows import Row
from counterpoint.errors import CounterpointError, nearest

BUNDLED = ("fortunes", "bbc-news", "wiki-vital")


def load(
    name: str,
    *,
    language: str = "en",
    labelled: float = 1.0,
    mislabelled: float = 0.0,
    words: int | None = None,
    limit: int | None = None,
    validation: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
    untested: str = "",
) -> Texts:
    """Load a bundled set; options as in ``data.text.load_texts``, and of wiki-vital a language.

    Args:
        language: of wiki-vital: en, fr or es.
    """
    if name not in BUNDLED:
        raise CounterpointError(f"there are no bundled texts '{name}'; {nearest(name, BUNDLED)}")
    import pyarrow.parquet as parquet

    table = parquet.read_table(bundled.path(name)).to_pylist()
    column, notes = "label", []
    if name == "wiki-vital":
        if language not in ("en", "fr", "es"):
            raise CounterpointError(f"language='{language}'; expected en, fr or es")
        table, column = [row for row in table if row["language"] == language and row["text"]], "topic"
        notes.append("articles that Wikipedia's list leaves uncategorized have no label")
    rows = [
        Row(
            row["text"],
            (row[column],) if row[column] not in ("", "Uncategorized") else (),
            None,
            f"row {number}",
        )
        for number, row in enumerate(table, 1)
    ]
    return build(
        rows,
        False,
        name,
        notes,
        labelled=labelled,
        mislabelled=mislabelled,
        words=words,
        limit=limit,
        validation=validation,
        test=test,
        seed=seed,
        untested=untested,
    )
