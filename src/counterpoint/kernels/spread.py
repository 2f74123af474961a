"""Which columns of numbers vary: by more than their own rounding, in whatever unit they are written."""

from __future__ import annotations

import torch
from torch import Tensor


def varying(rows_NF: Tensor, deviation_F: Tensor) -> Tensor:
    """Return [F] bool, the columns whose deviation is above their rounding. A bound that is no share of the numbers themselves would take
    metres that are written as kilometres for a constant.

    Args:
        rows_NF: numbers of N rows. deviation_F: of its columns; NaN, as of one row, is none.

    >>> rows = torch.tensor([[1e-9, 0.1, 5.0], [2e-9, 0.1, 6.0]])
    >>> varying(rows, rows.std(0)).tolist()
    [True, False, True]
    """
    return deviation_F > 2 * torch.finfo(rows_NF.dtype).eps * rows_NF.abs().amax(0)


def units(rows_NF: Tensor, deviation_F: Tensor) -> Tensor:
    """Return [F], what columns are divided by: their deviation, and 1 where they do not vary.

    >>> rows = torch.tensor([[2.0, 5.0], [6.0, 5.0]])
    >>> units(rows, rows.std(0, unbiased=False)).tolist()
    [2.0, 1.0]
    """
    return deviation_F.where(varying(rows_NF, deviation_F), 1.0)
