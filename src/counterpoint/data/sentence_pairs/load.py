"""Loads pairs, triplets and scored pairs of sentences from tables, and splits them so that no sentence is on two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from counterpoint.data.nested import split_seeds
from counterpoint.data.sentence_pairs import rows as pair_rows
from counterpoint.data.sentence_pairs.items import PairRows, SentencePairs
from counterpoint.data.sentence_pairs.rows import HIGHEST, LOWEST, Row
from counterpoint.data.tables import SPLITS, read_splits
from counterpoint.data.text.split import numbered, split_rows, text_key
from counterpoint.errors import CounterpointError, data_option

FEWEST = 10


def load_sentence_pairs(
    spec: str | Path,
    *,
    columns: str | None = None,
    score: str | None = None,
    scale: float = 1.0,
    positive_from: float | None = None,
    most_negatives: int | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    limit: int | None = None,
    evaluation_limit: int | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    untested: str = "",
) -> SentencePairs:
    """Load rows of an anchor and a positive, with negatives or with a score, from a CSV, TSV, JSON or Parquet file or a folder.

    Columns are recognised by name: ``anchor`` and ``positive`` with ``negative``, ``negative_1``, ... or a list ``negatives``;
    ``sentence1`` and ``sentence2``; ``score`` or ``label``. Columns of text of other names count in their order, as in
    sentence-transformers: the anchor, the positive, negatives.

    Args:
        spec: a .csv, .tsv, .jsonl, .json or .parquet file, a folder with one per split, or a folder of the datasets library.
        columns: names with commas, the anchor's, the positive's, then any of negatives, where neither names nor order fit.
        score: the scores' column, where it has no usual name; "none" leaves scores and labels out.
        scale: what scores are divided by, such as 5 for scores from 0 to 5.
        positive_from: read scored rows as pairs, those with at least this score (after scale); the others are left out.
        most_negatives: only so many negatives of each row, its first.
        delimiter: between the cells of CSV and TSV, where it is not found by itself.
        encoding: of text files, such as cp1252, where they are neither UTF-8 nor begin with a byte-order mark.
        limit: at most that many training rows. evaluation_limit: of validation and of test, likewise.
        validation, test: shares to cut from the training rows when the files name no such split; rows that share a sentence stay together.
        seed: of the split and the limits.
        untested: seeds of other splits, with commas; what they put into validation is not tested here.

    Raises:
        CounterpointError: with what was found, what was expected and the call that works.
    """
    path = Path(spec)
    splits = read_splits(path, delimiter, encoding)
    tables = [table for part in splits.values() for table in part]
    roles = pair_rows.roles_of(tables, path.name, columns, score)
    notes = [note for table in tables for note in table.notes] + roles.note()
    rows: list[Row] = []
    for split, part in splits.items():
        named = None if split == "all" else SPLITS.get(split, split)
        for table in part:
            rows += pair_rows.read(table, named, roles)
    scores = None if roles.score is None else _scaled(rows, roles.score, scale)
    if scores is not None and positive_from is not None:
        rows = [row for row, value in zip(rows, scores) if value >= positive_from]
        notes.append(
            f"{len(rows)} of {len(scores)} rows have a score of {positive_from:g} or more, and are read as pairs"
        )
        scores = None
    elif positive_from is not None:
        raise CounterpointError(f"positive_from={positive_from}, but {path.name} has no scores; leave it out")
    if len(rows) < FEWEST:
        raise CounterpointError(
            f"{path.name}: {len(rows)} rows to read; expected at least {FEWEST} (thousands to learn anything)"
        )
    negatives = _negatives(rows, most_negatives)
    whole = PairRows(
        tuple(row.anchor for row in rows),
        tuple(row.positive for row in rows),
        negatives,
        torch.zeros(0) if scores is None else torch.tensor(scores, dtype=torch.float32),
    )
    cut = _split(rows, validation, test, seed, path.name, notes, split_seeds(untested))
    limits = {"train": limit, "validation": evaluation_limit, "test": evaluation_limit}
    parts = {name: whole[torch.from_numpy(_limited(each, limits[name], seed))] for name, each in cut.items()}
    return SentencePairs(
        **parts,
        num_negatives=len(negatives[0]),
        scored=scores is not None,
        name=path.name,
        notes=tuple(notes),
    )


def _scaled(rows: Sequence[Row], column: str, scale: float) -> list[float]:
    if not scale > 0:
        raise CounterpointError(f"scale={scale}; expected a number above 0, such as 5 for scores from 0 to 5")
    values = [float(row.score or 0.0) / scale for row in rows]
    for row, value in zip(rows, values):
        if not LOWEST <= value <= HIGHEST:
            most = max(abs(float(each.score or 0.0)) for each in rows)
            raise CounterpointError(
                f"{row.where}: the column '{column}' holds {row.score:g}; expected from {LOWEST:g} to {HIGHEST:g}"
                + (f" after division by scale={scale:g}" if scale != 1.0 else "")
                + f", since it is compared with a cosine: {data_option('scale', f'{most:g}')} divides by the largest; classes that are no "
                f"degrees are left out with {data_option('score', 'none')}"
            )
    return values


def _negatives(rows: Sequence[Row], most: int | None) -> tuple[tuple[str, ...], ...]:
    if most is not None and most < 0:
        raise CounterpointError(f"most_negatives={most}; expected 0 or more")
    cut = [row.negatives[:most] for row in rows]
    usual = Counter(map(len, cut)).most_common(1)[0][0]
    for row, texts in zip(rows, cut):
        if len(texts) != usual:
            fewest = min(map(len, cut))
            raise CounterpointError(
                f"{row.where}: {len(texts)} negatives, and most rows have {usual}; expected as many in every row: mend the row, or take the first "
                f"of each with {data_option('most_negatives', str(fewest))}"
            )
    return tuple(cut)


def _split(
    rows: Sequence[Row],
    validation: float,
    test: float,
    seed: int,
    name: str,
    notes: list[str],
    untested: Sequence[int],
) -> dict[str, np.ndarray]:
    """Row numbers of the splits; what is cut keeps rows together that share a sentence."""
    groups, by = _groups(rows)
    lines: list[str] = []
    first = np.zeros(len(rows), np.int64)
    parts = split_rows(
        np.array(groups), *numbered([row.split for row in rows]), first, validation, test, seed, name, lines, untested
    )  # fmt: skip
    if lines:
        missing = lines[0].partition(" cut from")[0]
        notes.append(f"{missing} cut from the training rows, {by} on one side (seed {seed})")
    return parts


def _groups(rows: Sequence[Row]) -> tuple[list[int], str]:
    """[N] a number for rows that share an anchor or a positive, also by way of others; by anchors alone where that joins half of all."""
    for both in (True, False):
        groups = _joined(rows, both)
        if not both or max(Counter(groups).values()) <= max(len(rows) // 2, 2):
            break
    return groups, "rows that share a sentence" if both else "rows that share their anchor"


def _joined(rows: Sequence[Row], both: bool) -> list[int]:
    parent: dict[bytes, bytes] = {}

    def root(key: bytes) -> bytes:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    anchors = [text_key(row.anchor) for row in rows]
    if both:
        for anchor, row in zip(anchors, rows):
            parent[root(text_key(row.positive))] = root(anchor)
    numbers: dict[bytes, int] = {}
    return [numbers.setdefault(root(anchor), len(numbers)) for anchor in anchors]


def _limited(rows: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    """At most ``limit`` of the rows, drawn with the seed, in their order."""
    if limit is None or len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(seed).permutation(rows)[:limit])
