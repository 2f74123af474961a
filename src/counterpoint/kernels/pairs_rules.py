"""Which (row, column) pairs take part in a similarity statistic, said so that any block can be asked for.

A rule never needs the whole N x M table: keys (labels, instance numbers, positions) are compared block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Rule:
    """Pairs whose keys are equal (or different), or an explicit table. Make it with the functions below."""

    rows: Tensor | None = None
    columns: Tensor | None = None
    equal: bool = True
    table: Tensor | None = None

    @property
    def symmetric(self) -> bool:
        """Whether rows and columns share their keys, so that (i, j) is in exactly when (j, i) is."""
        return self.table is None and (self.columns is self.rows)

    def block(self, rows: slice | Tensor, columns: slice) -> Tensor:
        """Return the bool table of one block."""
        if self.table is not None:
            return self.table[rows, columns]
        assert self.rows is not None
        assert self.columns is not None
        left, right = self.rows[rows].unsqueeze(1), self.columns[columns].unsqueeze(0)
        return left == right if self.equal else left != right


def same(rows: Tensor, columns: Tensor | None = None) -> Rule:
    """Only pairs with equal keys (columns default to the rows' keys).

    >>> same(torch.tensor([0, 1])).block(slice(0, 2), slice(0, 2)).tolist()
    [[True, False], [False, True]]
    """
    return Rule(rows, rows if columns is None else columns, True)


def different(rows: Tensor, columns: Tensor | None = None) -> Rule:
    """Only pairs with different keys: other labels, other instances, or anything but itself."""
    return Rule(rows, rows if columns is None else columns, False)


def not_self(count: int, device: torch.device | None = None) -> Rule:
    """Every pair but (i, i)."""
    return different(torch.arange(count, device=device))


def where(table: Tensor) -> Rule:
    """An explicit bool table [N, M]; it is as large as the similarities themselves, so prefer keys."""
    return Rule(table=table)


def check_rules(rules: Sequence[Rule], num_rows: int, num_columns: int) -> None:
    """Raise when keys or tables do not fit N rows and M columns."""
    for rule in rules:
        given = (
            tuple(rule.table.shape) if rule.table is not None else (len(rule.rows), len(rule.columns))  # type: ignore[arg-type]
        )
        if given != (num_rows, num_columns):
            raise CounterpointError(
                f"a rule over {given} (rows, columns) was given for {num_rows} rows and {num_columns} columns; expected "
                "one key per row and one per column; for example include=[different(labels_a, labels_b)]"
            )


def allowed(rules: Sequence[Rule], rows: slice | Tensor, columns: slice) -> Tensor | None:
    """Return the pairs of one block that every rule lets in; None for all of them."""
    table: Tensor | None = None
    for rule in rules:
        block = rule.block(rows, columns)
        table = block if table is None else table & block
    return table
