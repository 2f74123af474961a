"""Rows of unequal length go through a model in parts of like length where the padding saved outweighs another call.

States and gradients are those of the whole batch up to rounding: rows do not know of one another. B rows, L positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from counterpoint.models import tokens
from counterpoint.models.tokens import Tokens

MOST = 256
"""Rows that are divided exactly; more are divided by every so many."""


def parts(lengths: Sequence[int], call: float) -> list[list[int]]:
    """Divide rows so that padded positions and calls cost least together.

    Args:
        lengths: of each row. call: what one more call costs, in positions.

    Returns:
        Row numbers of each part, longest rows first; every row once.

    >>> parts([10, 3, 11, 2], call=5), parts([10, 3, 11, 2], call=100)
    ([[2, 0], [1, 3]], [[2, 0, 1, 3]])
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    stride = -(-len(order) // MOST)
    cuts = [*range(0, len(order), stride), len(order)]
    best, start = [0.0], [0]
    for end in range(1, len(cuts)):
        # The part from cuts[begin] to cuts[end] is as wide as its first row, the longest.
        costs = [
            best[begin] + lengths[order[cuts[begin]]] * (cuts[end] - cuts[begin]) + call
            for begin in range(end)
        ]
        best.append(min(costs))
        start.append(costs.index(min(costs)))
    divided, end = [], len(cuts) - 1
    while end > 0:
        divided.append(order[cuts[start[end]] : cuts[end]])
        end = start[end]
    return divided[::-1]


def states_in_parts(rows: Tokens, call: float, states: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Hidden states [B, L, D] of rows whose tokens stand at the left; zeros on what is padding in a whole part.

    Args:
        rows: right-padded. call: as of ``parts``. states: (ids, mask) of some rows to their states.
    """
    divided = parts(rows.lengths.tolist(), call)
    if len(divided) == 1:
        return states(rows.ids, rows.mask)
    pieces = []
    for each in divided:
        piece = tokens.trim(rows[torch.tensor(each, device=rows.ids.device)])
        padding = rows.width - piece.width
        pieces.append(torch.nn.functional.pad(states(piece.ids, piece.mask), (0, 0, 0, padding)))
    order = torch.tensor([row for each in divided for row in each], device=rows.ids.device)
    return torch.cat(pieces).index_select(0, order.argsort())
