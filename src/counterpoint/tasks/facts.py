"""Facts of loaded data that advice may rest on. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What a rule may look at.

    Attributes:
        kind: of data. rows: training rows. labelled: how many of them have a label. classes: how many classes.
        imbalance: largest class over smallest. density: filled share of the interaction matrix.
        captioned: whether images have captions, or vectors beside them. pictured: whether prompts show pictures.
        worked: whether a problem has a worked solution. scored: whether pairs of sentences have scores. negatives: of each pair, beside those of a batch.
        doubts: what this kind's data leave in doubt, in sentences.
    """

    kind: str
    rows: int
    labelled: int | None = None
    classes: int | None = None
    imbalance: float | None = None
    density: float | None = None
    captioned: bool = False
    pictured: bool = False
    worked: bool = False
    scored: bool = False
    negatives: int | None = None
    doubts: tuple[str, ...] = ()


def rows_of(part: Any) -> int:
    """Rows of a split; 0 for one that is played, not read."""
    try:
        return len(part)
    except TypeError:
        return 0


def imbalance_of(sizes: Iterable[int]) -> float | None:
    """Largest class over smallest, of classes that have rows; None without any.

    >>> imbalance_of([30, 0, 10])
    3.0
    """
    filled = [size for size in sizes if size]
    return max(filled) / min(filled) if filled else None
