"""Which layer of a student learns from which of a teacher (Distiller, arXiv 2109.11105, 3.2). N student layers, M teacher layers.

Hidden states are numbered from 0, the embeddings, so that there are N + 1 and M + 1; attention maps from 0 on.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest

Mapping = Literal["skip", "last", "emd"]


def layer_pairs(
    mapping: str, student: int, teacher: int, *, attention: bool = False
) -> list[tuple[int, int]]:
    """Pairs (student layer, teacher layer) of a fixed mapping.

    skip: j with floor(j M / N), attention maps with floor((j + 1) M / N - 1). last: j with M - N + j.

    Raises:
        CounterpointError: another mapping, or a student with more layers than the teacher.

    >>> layer_pairs("skip", 2, 6), layer_pairs("last", 2, 6)
    ([(0, 0), (1, 3), (2, 6)], [(0, 4), (1, 5), (2, 6)])
    """
    if student > teacher or student < 1:
        raise CounterpointError(
            f"a student of {student} layers and a teacher of {teacher}; expected at least one, and no more than the teacher's"
        )
    count = student if attention else student + 1
    if mapping == "skip":
        if attention:
            return [(j, (j + 1) * teacher // student - 1) for j in range(count)]
        return [(j, j * teacher // student) for j in range(count)]
    if mapping == "last":
        return [(j, teacher - student + j) for j in range(count)]
    raise CounterpointError(f"mapping='{mapping}'; {nearest(mapping, ['skip', 'last', 'emd'])}")


def transport_plan(cost_NM: Tensor) -> Tensor:
    """The optimal transport [N, M] between layers of equal weight, a constant: rows sum to 1/N, columns to 1/M.

    Raises:
        CounterpointError: costs that are not finite.

    >>> transport_plan(torch.tensor([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    from scipy.optimize import linprog

    cost = cost_NM.detach().double().cpu().numpy()
    if not np.isfinite(cost).all():
        raise CounterpointError(
            "costs between layers are not finite; the training diverged: lower the learning rate, or take mapping=skip"
        )
    rows, columns = cost.shape
    sums = np.concatenate([np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))])
    wanted = np.concatenate([np.full(rows, 1 / rows), np.full(columns, 1 / columns)])
    solved = linprog(cost.ravel(), A_eq=sums, b_eq=wanted, method="highs")
    return torch.from_numpy(np.maximum(solved.x, 0.0).reshape(rows, columns)).to(cost_NM)
