"""What a model's kind offers for predicting: how a row is read, what is answered to many, what a row must hold.

``prediction.KIND`` has a function ``predictor(model, folder, settings)`` that makes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Settings:
    """What may be chosen when predicting.

    Attributes:
        batch_size: rows at once; None takes the kind's usual number.
        column: of the inputs, where it has none of the usual names.
        k: items to recommend.
        max_new_tokens: of an answer; None takes 256, or what the model's positions leave.
        temperature: of answers; 0 takes the likeliest token.
        seed: of sampled answers.
        steps: of a picture that is made; None takes the most that its model's training drew.
        towards: of a model that restyles: "styled", or "plain" to take the style off.
        learnt: columns that training was told to read inputs from; they come before the usual names. The folder says them.
    """

    batch_size: int | None = None
    column: str | None = None
    k: int = 10
    max_new_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0
    steps: int | None = None
    towards: str = "styled"
    learnt: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("batch_size", "k", "max_new_tokens", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CounterpointError(f"{name}={value}: expected 1 or more")
        if self.temperature < 0:
            raise CounterpointError(f"temperature={self.temperature}: expected 0 (the likeliest) or above")


@dataclass(frozen=True)
class Row:
    """One row of what is to be predicted.

    Attributes:
        cells: its columns; a file or a bare value stands under the predictor's ``plain``.
        where: it stands, for messages. number: from 1, in its file. folder: that its names of files are relative to.
        separator: between the cells of its file, where it is CSV or TSV.
    """

    cells: Mapping[str, Any]
    where: str
    number: int
    folder: Path = Path()
    separator: str = ""

    def cell(self, names: Sequence[str], what: str) -> Any:
        """The first of these columns that the row has.

        Raises:
            CounterpointError: it has none, or nothing in it.
        """
        name = next((name for name in names if name in self.cells), None)
        if name is None:
            has = ", ".join(map(str, list(self.cells)[:12])) or "no column"
            raise CounterpointError(
                f"{self.where}: no {what}; it has {has}, and expected is a column {' or '.join(names[:3])}; name it: --column COLUMN"
            )
        value = self.cells[name]
        if value is None or (isinstance(value, float) and value != value):
            raise CounterpointError(f"{self.where}: the column '{name}' is empty; expected {what}")
        return value


@dataclass(frozen=True)
class Predictor:
    """A model that answers rows.

    Attributes:
        what: it gives, in a word or two ("labels", "embeddings").
        plain: the column that a value without a name stands in: a line of text, a file, an item of a list; "" for none.
        read: a row as ``answer`` takes it; raises where the row cannot be used.
        answer: to many of them, a dict each, all with the same keys.
        size: rows at once, usually.
        columns: in which an input may stand; by them a table on standard input is known from plain lines.
        endings: of files that are an input by themselves.
        once: whether equal inputs are answered once, at the first (users of a table of what they met).
        documents: whether such files hold text, and one of them by itself a text a line.
        example: Python that stands for data, for the model's card.
        notes: what a person should know of the rows that were read; ``answer`` adds to it.
    """

    what: str
    plain: str
    read: Callable[[Row], Any]
    answer: Callable[[list[Any]], list[dict[str, Any]]]
    size: int
    columns: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    once: bool = False
    documents: bool = False
    example: str = ""
    notes: list[str] = field(default_factory=list)


def names(settings: Settings, usual: Sequence[str]) -> tuple[str, ...]:
    """The column that was named; or those of training, then the usual names.

    >>> names(Settings(learnt=("Message",)), ["text", "sentence"]), names(Settings(column="Mail"), ["text"])
    (('Message', 'text', 'sentence'), ('Mail',))
    """
    return (settings.column,) if settings.column else tuple(dict.fromkeys((*settings.learnt, *usual)))


def numbers(rows: Tensor) -> list[list[float]]:
    """[N, F] in float32 as Python's numbers, with no more digits than they have.

    >>> import torch
    >>> numbers(torch.tensor([[0.1, 2.0]]))
    [[0.1, 2.0]]
    """
    return [[float(str(value)) for value in row] for row in rows.float().cpu().numpy()]


def embeddings(rows: Tensor) -> list[dict[str, Any]]:
    """[N, F] as answers."""
    return [{"embedding": row} for row in numbers(rows)]


def labels(probabilities: Tensor, classes: Sequence[str], several: bool = False) -> list[dict[str, Any]]:
    """[N, C] as answers: the likeliest class (all above one half, where there may be several) and each one's probability.

    >>> import torch
    >>> labels(torch.tensor([[0.25, 0.75]]), ["tea", "coffee"])
    [{'label': 'coffee', 'probabilities': {'tea': 0.25, 'coffee': 0.75}}]
    """
    answers: list[dict[str, Any]] = []
    for row in numbers(probabilities):
        each = dict(zip(classes, row, strict=True))
        if several:
            answers.append(
                {"labels": [name for name, value in each.items() if value > 0.5], "probabilities": each}
            )
        else:
            answers.append({"label": max(each, key=each.__getitem__), "probabilities": each})
    return answers
