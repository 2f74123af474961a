"""NNCLR: a row's nearest neighbour in a queue of past rows stands in for the row itself (arXiv 2104.14548, eq. 4-5).

The neighbour is a constant; the gradient reaches only the other view's prediction. With ``decoupled`` the positive
leaves the denominator (arXiv 2110.06848). Shapes: n local rows, N rows of all ranks, D dimensions, K queue entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.contrast.infonce import info_nce
from counterpoint.objectives.in_batch import unit

BLOCK_ELEMENTS = 2**22


@torch.no_grad()
def nearest_neighbours(rows: Tensor, bank: Tensor) -> Tensor:
    """Row of ``bank`` [K, D] with the largest cosine to each row [n, D], normalised: [n, D], constant.

    Raises:
        CounterpointError: an empty bank.

    >>> nearest_neighbours(torch.tensor([[2.0, 1.0]]), torch.eye(2))
    tensor([[1., 0.]])
    """
    if not len(bank):
        raise CounterpointError("the queue of neighbours is empty; fill it with normalised projections first")
    bank = unit(bank)
    blocks = unit(rows).split(max(1, BLOCK_ELEMENTS // len(bank)))
    return bank[torch.cat([(block @ bank.T).argmax(1) for block in blocks])]


def nnclr(
    neighbours: tuple[Tensor, Tensor],
    predictions: tuple[Tensor, Tensor],
    *,
    temperature: float | Tensor = 0.1,
    decoupled: bool = False,
    candidates: tuple[Tensor, Tensor] | None = None,
    offset: int = 0,
) -> Tensor:
    """Neighbours of one view against the predictions of the other, mean of both directions.

    Args:
        neighbours: each [n, D]: ``nearest_neighbours`` of the first and the second view.
        predictions: each [n, D]: the predictor's output for the first and the second view.
        temperature: tau.
        decoupled: leave the positive out of the denominator.
        candidates: (all first predictions, all second ones), each [N, D]; default the local ones.
        offset: where the local rows lie among the candidates.

    Returns:
        [n].

    >>> z = torch.eye(2)
    >>> [round(x, 4) for x in nnclr((z, z), (z, z), temperature=1.0).tolist()]
    [0.3133, 0.3133]
    """
    keys = predictions if candidates is None else candidates
    losses = [
        info_nce(
            neighbours[view].detach(),
            keys[1 - view],
            temperature=temperature,
            decoupled=decoupled,
            offset=offset,
        )
        for view in (0, 1)
    ]
    return (losses[0] + losses[1]) / 2
