"""Edge dropping: two thinned copies of a user-item graph make two views of every node (arXiv 2010.10783, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


def retained_edges(num_edges: int, dropped: float, generator: torch.Generator) -> Tensor:
    """[int(num_edges * (1 - dropped))] positions of the edges that stay, drawn without repetition, sorted.

    >>> retained_edges(10, 0.25, torch.Generator().manual_seed(0)).shape
    torch.Size([7])
    """
    if not 0 <= dropped < 1:
        raise CounterpointError(
            f"dropped={dropped}: expected a share of the edges from 0 up to, not including, 1"
        )
    count = max(int(num_edges * (1 - dropped)), 1)
    return torch.randperm(num_edges, generator=generator)[:count].sort().values
