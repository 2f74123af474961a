"""What a search leaves for later ones: facts of its data, its models, what every configuration reached. Plain data, no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.study.files import read_sealed, shaped

BUCKETS = 100
"""Numbers that describe what a data set's inputs are like, as many as the paper's."""
SAMPLE = 200
"""Inputs they are taken from."""


@dataclass(frozen=True)
class Record:
    """One search on one data set.

    Attributes:
        method: the catalog's key. data: fingerprint of the data; searches on the same data are one data set.
        name: the data as given. model: the student it started from. teacher: the model its figures are divided by, or "".
        metric: of the figures, on validation.
        facts: rows, classes and the like, as numbers. inputs: ``BUCKETS`` numbers of what inputs are like, or none.
        reference: the teacher's figure, or the best one tried where there is no teacher. bare: without a teacher, or None.
        tried: settings (all that differ from the method's defaults or were searched) and figures.
    """

    method: str
    data: str
    name: str
    model: str
    metric: str
    reference: float
    tried: Sequence[tuple[Mapping[str, Any], float]]
    teacher: str = ""
    bare: float | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    inputs: Sequence[float] = ()

    def ratio(self, value: float) -> float:
        """A figure as a share of the reference's: the distillation ratio, where that is the teacher's."""
        return value / self.reference if self.reference else math.nan

    def as_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self) | {"tried": [{"settings": dict(s), "value": v} for s, v in self.tried]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Record:
        """From ``as_dict``."""
        tried = [(each["settings"], float(each["value"])) for each in stored["tried"]]
        return cls(**{**stored, "tried": tried})


def read_records(folders: Sequence[Path], method: str) -> list[Record]:
    """Records of earlier searches, given by their ``--out`` folders.

    Raises:
        CounterpointError: a folder without a finished search, or one of another method.
    """
    records = []
    for folder in folders:
        if not (folder / "summary.json").exists():
            raise CounterpointError(
                f"{folder} holds no finished search; give the --out folder of counterpoint tune {method}"
            )
        with shaped(folder / "summary.json"):
            stored = read_sealed(folder / "summary.json", "arms").get("record")
            if stored is None:
                raise CounterpointError(
                    f"{folder} holds a study that is no search; give the --out folder of counterpoint tune {method}"
                )
            record = Record.from_dict(stored)
        if record.method != method:
            raise CounterpointError(
                f"{folder} holds a search of {record.method}; records for {method} are of {method} itself"
            )
        records.append(record)
    return records


def inputs_of(data: Any) -> list[float]:
    """Shares of hashed words in a sample of the training texts, [BUCKETS]; empty for data that are no texts.

    >>> inputs_of(object())
    []
    """
    texts = getattr(getattr(data, "train", None), "texts", None)
    if not texts:
        return []
    from sklearn.feature_extraction.text import HashingVectorizer

    counts = HashingVectorizer(n_features=BUCKETS, alternate_sign=False, norm="l1")
    return [float(share) for share in counts.transform(list(texts)[:SAMPLE]).mean(0).A1]


def numbers_of(facts: Any) -> dict[str, float]:
    """The facts that are numbers; what is unknown is left out."""
    return {
        name: float(value)
        for name, value in asdict(facts).items()
        if isinstance(value, int | float) and value is not None
    }
