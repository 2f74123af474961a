"""Which (row, column) pairs take part in a similarity statistic, in a form that any block can be evaluated from.

A rule never needs the whole N x M table: keys (labels, instance numbers) are compared block by block, and leaving out
the diagonal costs one strided fill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


@dataclass(frozen=True, eq=False)
class Rule:
    """Pairs whose keys are equal (or different), everything off the diagonal, or an explicit table. Make it with the functions below."""

    rows: Tensor | None = None
    columns: Tensor | None = None
    equal: bool = True
    table: Tensor | None = None
    diagonal: int | None = None

    @property
    def symmetric(self) -> bool:
        """Whether rows and columns share their keys, so that (i, j) is in exactly when (j, i) is."""
        return self.table is None and self.columns is self.rows

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns it applies to."""
        if self.diagonal is not None:
            return self.diagonal, self.diagonal
        if self.table is not None:
            return self.table.shape[0], self.table.shape[1]
        assert self.rows is not None
        assert self.columns is not None
        return len(self.rows), len(self.columns)

    def take(self, index: Tensor) -> Rule:
        """Return the rule for a choice of rows."""
        if self.diagonal is not None:
            return Rule(
                index, torch.arange(self.diagonal, device=index.device, dtype=index.dtype), equal=False
            )
        if self.table is not None:
            return Rule(table=self.table[index])
        assert self.rows is not None
        return Rule(self.rows[index], self.columns, self.equal)

    def exclude(self, block: Tensor, rows: slice, columns: slice, fill: float) -> None:
        """Overwrite the pairs of a block that are not in, in place."""
        if self.diagonal is not None:
            offset = rows.start - columns.start
            if -block.shape[0] < offset < block.shape[1]:
                block.diagonal(offset).fill_(fill)
            return
        if self.table is not None:
            outside = ~self.table[rows, columns]
        else:
            assert self.rows is not None
            assert self.columns is not None
            left, right = self.rows[rows].unsqueeze(1), self.columns[columns].unsqueeze(0)
            outside = left != right if self.equal else left == right
        block.masked_fill_(outside, fill)


def same(rows: Tensor, columns: Tensor | None = None) -> Rule:
    """Only pairs with equal keys (columns default to the rows' keys).

    >>> allowed([same(torch.tensor([0, 1]))], 2, 2).tolist()
    [[True, False], [False, True]]
    """
    return _by_keys(rows, columns, True)


def different(rows: Tensor, columns: Tensor | None = None) -> Rule:
    """Only pairs with different keys: other labels, other instances."""
    return _by_keys(rows, columns, False)


def not_self(count: int) -> Rule:
    """Every pair but (i, i), among as many columns as rows.

    >>> allowed([not_self(2)], 2, 2).tolist()
    [[False, True], [True, False]]
    """
    return Rule(diagonal=count)


def where(table: Tensor) -> Rule:
    """An explicit bool table [N, M]; it is as large as the similarities themselves, so prefer keys."""
    return Rule(table=table)


def check_rules(rules: Sequence[Rule], num_rows: int, num_columns: int) -> None:
    """Raise when keys or tables do not fit N rows and M columns."""
    for rule in rules:
        if rule.shape != (num_rows, num_columns):
            raise CounterpointError(
                f"a rule over {rule.shape} (rows, columns) was given for {num_rows} rows and {num_columns} columns; expected "
                "one key per row and one per column; for example include=[different(labels_a, labels_b)]"
            )


def exclude(rules: Sequence[Rule], block: Tensor, rows: slice, columns: slice, fill: float) -> None:
    """Overwrite the pairs of a block that some rule keeps out, in place."""
    for rule in rules:
        rule.exclude(block, rows, columns, fill)


def allowed(
    rules: Sequence[Rule], num_rows: int, num_columns: int, device: torch.device | None = None
) -> Tensor | None:
    """Return the whole bool table; None when every pair is in."""
    if not rules:
        return None
    table = torch.ones(num_rows, num_columns, dtype=torch.bool, device=device)
    exclude(rules, table, slice(0, num_rows), slice(0, num_columns), False)
    return table


def _by_keys(rows: Tensor, columns: Tensor | None, equal: bool) -> Rule:
    if columns is not None and columns.dtype != rows.dtype:
        raise CounterpointError(
            f"row keys {rows.dtype} and column keys {columns.dtype} were given; expected one type"
        )
    short = _short(rows)
    if columns is None or columns is rows:
        if not equal and rows.dim() == 1 and bool((short.diff() > 0).all()):
            return not_self(len(rows))  # ascending keys are all different, so only the diagonal is out
        return Rule(short, short, equal)
    other = _short(columns)
    return Rule(short, other, equal) if other.dtype == short.dtype else Rule(rows, columns, equal)


def _short(keys: Tensor) -> Tensor:
    """Narrow whole-number keys where they fit: comparing them is the cost of a rule."""
    if keys.dtype != torch.int64 or not keys.numel():
        return keys
    limit = torch.iinfo(torch.int32)
    return keys.int() if limit.min <= int(keys.min()) and int(keys.max()) <= limit.max else keys
