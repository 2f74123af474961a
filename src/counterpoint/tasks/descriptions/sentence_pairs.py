"""Pairs of sentences: tables of anchors and positives, with negatives or scores."""

from __future__ import annotations

from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample

PAIRS = (
    ("anchor", "positive"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
)


def file(look: FileSample) -> bool:
    """Whether a table has the two columns of a pair."""
    return any(look.has(*names) for names in PAIRS)


DESCRIPTION = Description(
    kind="sentence-pairs",
    looks="a table with `anchor` and `positive`, or `sentence1` and `sentence2`; other columns of text with `--kind sentence-pairs` or a "
    "method of this kind",
    loaders={"": "counterpoint.data.sentence_pairs.load:load_sentence_pairs"},
    file=file,
    inputs=("columns",),
)
