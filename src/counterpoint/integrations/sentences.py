"""Objectives as losses of sentence-transformers: ``SentenceLoss(model, "decoupled", temperature=0.05)`` for its trainer.

The trainer calls a loss with one dictionary of features per column, and labels; ``model(features)["sentence_embedding"]`` is [n, D].
Nothing is imported from sentence-transformers. Shapes: n texts, D dimensions, V columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.integrations.catalog import FORMS, form_of
from counterpoint.integrations.modules import objective
from counterpoint.objectives.in_batch import unit

LABELLED = ("labelled", "valued", "proxies", "same", "graded", "candidates", "remembered")
COLUMNS = {
    "pair": (2, 2),
    "labelled": (1, 1),
    "valued": (1, 1),
    "proxies": (1, 1),
    "same": (2, 2),
    "graded": (2, 2),
    "triplet": (3, 3),
    "remembered": (2, 2),
}
"""The fewest and the most columns of text, where their number is fixed."""
LEAST = {"keys": 2, "views": 2, "samples": 2, "scores": 3, "candidates": 3}


class SentenceLoss(nn.Module):
    """A loss as sentence-transformers' trainers take them.

    Args:
        model: a ``SentenceTransformer``, or anything that gives "sentence_embedding".
        name: of the objective; docs/trainers.md lists those that go by columns, and the columns.
        similarity: of those that score candidates or negatives: "cosine" or "dot". gather, settings: as of ``modules.objective``.

    Raises:
        CounterpointError: no such objective, or one that columns of text cannot give.

    >>> class Letters(nn.Module):
    ...     def forward(self, features):
    ...         return {"sentence_embedding": features["x"]}
    >>> loss = SentenceLoss(Letters(), "info_nce", temperature=1.0)
    >>> round(float(loss([{"x": torch.eye(2)}, {"x": torch.eye(2)}])), 4)
    0.3133
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        /,
        *,
        similarity: Literal["cosine", "dot"] = "cosine",
        gather: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.form = form_of(name)
        if not FORMS[self.form].columns:
            raise CounterpointError(
                f"{name} is no loss of sentence-transformers: it {FORMS[self.form].why}; as a module: "
                f'counterpoint.integrations.objective("{name}")'
            )
        if similarity not in ("cosine", "dot"):
            raise CounterpointError(f"similarity={similarity!r} was given; expected 'cosine' or 'dot'")
        self.model, self.name, self.similarity = model, name, similarity
        self.objective = objective(name, gather=gather, **settings)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """The scalar loss of a batch.

        Args:
            sentence_features: one dictionary a column of text, in the data's order. labels: [n], or [n, N] of scores.
        """
        features = list(sentence_features)
        self._check(len(features), labels)
        return self._forward([self.model(column)["sentence_embedding"] for column in features], labels)

    def _forward(self, columns: list[Tensor], labels: Tensor | None) -> Tensor:
        """From each column's embeddings [n, D]."""
        if self.form == "views":
            return self.objective(torch.stack(columns))
        if self.form == "samples":
            return self.objective(torch.stack(columns, 1), *([] if labels is None else [labels]))
        if self.form == "keys":
            hard = [torch.cat(columns[2:])] if len(columns) > 2 else []
            return self.objective(columns[0], columns[1], *hard)
        if self.form == "scores":
            scores = self._scores(columns)
            return self.objective(scores[:, 0], scores[:, 1:])
        if self.form == "candidates":
            assert labels is not None
            return self.objective(self._scores(columns), labels.to(columns[0].dtype))
        more = [labels] if self.form in LABELLED else []
        return self.objective(*columns, *more)

    def _scores(self, columns: list[Tensor]) -> Tensor:
        """Similarity of the first column to each other one, [n, V - 1]."""
        scaled: Callable[[Tensor], Tensor] = unit if self.similarity == "cosine" else (lambda rows: rows)
        rows = torch.stack([scaled(each) for each in columns], 1)
        return (rows[:, :1] * rows[:, 1:]).sum(-1)

    def _check(self, count: int, labels: Tensor | None) -> None:
        least, most = COLUMNS.get(self.form, (LEAST.get(self.form, 1), count))
        wanted = FORMS[self.form].columns
        if not least <= count <= most:
            raise CounterpointError(
                f"{self.name} was given {count} columns of text; expected {wanted}: keep these with dataset.select_columns([...])"
            )
        if self.form in LABELLED and labels is None:
            raise CounterpointError(
                f"{self.name} was given no labels; expected {wanted}: name that column 'label' (dataset.rename_column)"
            )

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card says of this loss."""
        return {"objective": self.name, "similarity": self.similarity, **self.objective.settings}
