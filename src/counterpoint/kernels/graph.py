"""Propagation over a bipartite interaction graph, ``D^-1/2 A D^-1/2 x``, with a symmetric backward.

Nodes are numbered users first, then items. The matrix is symmetric, so the same CSR table serves both directions.
LightGCN: arXiv 2002.02126, equation 8.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Adjacency:
    """A normalised bipartite adjacency; make it with ``bipartite_adjacency``.

    Attributes:
        matrix: CSR [num_users + num_items, the same], symmetric.
        num_users: users come first.
        num_items: items follow.
    """

    matrix: Tensor
    num_users: int
    num_items: int

    @property
    def num_nodes(self) -> int:
        """Users and items together."""
        return self.num_users + self.num_items

    def to(self, device: torch.device | str) -> Adjacency:
        """Return the adjacency on another device."""
        return Adjacency(self.matrix.to(device), self.num_users, self.num_items)


def bipartite_adjacency(
    users: Tensor, items: Tensor, num_users: int, num_items: int, dtype: torch.dtype = torch.float32
) -> Adjacency:
    """Build ``D^-1/2 A D^-1/2`` from interactions; a repeated pair counts once, an isolated node has an empty row.

    Args:
        users: [E] user ids.
        items: [E] item ids.
        num_users: number of users.
        num_items: number of items.
        dtype: of the entries.

    >>> g = bipartite_adjacency(torch.tensor([0, 0]), torch.tensor([0, 1]), 1, 2)
    >>> [round(v, 4) for v in g.matrix.values().tolist()]
    [0.7071, 0.7071, 0.7071, 0.7071]
    """
    _check_ids("user", users, num_users)
    _check_ids("item", items, num_items)
    keys = torch.unique(users.long() * num_items + items.long())
    left, right = keys // num_items, keys % num_items + num_users
    nodes = num_users + num_items
    row, column = torch.cat([left, right]), torch.cat([right, left])
    order = torch.argsort(row * nodes + column)
    row, column = row[order], column[order]
    degree = torch.bincount(row, minlength=nodes)
    inverse_root = degree.to(torch.float64).clamp(min=1).rsqrt()
    values = (inverse_root[row] * inverse_root[column]).to(dtype)
    start = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    return Adjacency(_csr(start, column, values, (nodes, nodes)), num_users, num_items)


def propagate(adjacency: Adjacency, x: Tensor) -> Tensor:
    """Return ``A x`` for all nodes; the backward is the same product.

    Args:
        adjacency: over N nodes.
        x: [N, D].
    """
    _check_table(adjacency, x)
    return _Propagate.apply(adjacency.matrix, x, False)


def _check_table(adjacency: Adjacency, x: Tensor) -> None:
    if x.dim() != 2 or len(x) != adjacency.num_nodes:
        raise CounterpointError(
            f"embeddings {tuple(x.shape)} were given for {adjacency.num_nodes} nodes ({adjacency.num_users} users, then "
            f"{adjacency.num_items} items); expected [{adjacency.num_nodes}, D]; for example propagate(graph, torch.cat([users, items]))"
        )
    if x.dtype != adjacency.matrix.dtype:
        raise CounterpointError(
            f"{x.dtype} embeddings were given for a {adjacency.matrix.dtype} adjacency; expected one type; "
            "for example bipartite_adjacency(..., dtype=embeddings.dtype)"
        )


def propagate_rows(adjacency: Adjacency, x: Tensor, nodes: Tensor) -> Tensor:
    """Return rows ``nodes`` of ``A x``, touching those rows' edges alone, forward and backward: the last layer of a batch.

    Rows with a third of all edges or more are taken from the whole product, which is then cheaper than sorting the cut.

    Args:
        adjacency: over N nodes.
        x: [N, D].
        nodes: [n] node numbers, users first, then items from ``num_users`` on.

    Returns:
        [n, D].
    """
    _check_table(adjacency, x)
    _check_ids("node", nodes, adjacency.num_nodes)
    start = adjacency.matrix.crow_indices()
    if len(nodes) and int((start[nodes + 1] - start[nodes]).sum()) * 3 >= int(start[-1]):
        return propagate(adjacency, x).index_select(0, nodes)
    return _Propagate.apply(_rows_of(adjacency.matrix, nodes), x, True)


def _rows_of(matrix: Tensor, nodes: Tensor) -> Tensor:
    """Cut rows out of a CSR matrix."""
    start, column, values = matrix.crow_indices().long(), matrix.col_indices(), matrix.values()
    begin = start[nodes]
    count = start[nodes + 1] - begin
    offset = torch.cat([count.new_zeros(1), count.cumsum(0)])
    edges = torch.arange(int(offset[-1]), device=column.device) + torch.repeat_interleave(
        begin - offset[:-1], count
    )
    return _csr(offset, column[edges], values[edges], (len(nodes), matrix.shape[1]))


def _transpose(matrix: Tensor) -> Tensor:
    """Turn a CSR matrix into the CSR matrix of its transpose: the product that multiplies fastest."""
    start, column, values = matrix.crow_indices(), matrix.col_indices(), matrix.values()
    row = torch.repeat_interleave(torch.arange(len(start) - 1, device=column.device), start.diff().long())
    order = torch.argsort(column, stable=True)
    count = torch.bincount(column, minlength=matrix.shape[1])
    offset = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return _csr(offset, row[order], values[order], (matrix.shape[1], matrix.shape[0]))


class _Propagate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, x: Tensor, cut: bool) -> Tensor:
        ctx.matrix, ctx.cut = matrix, cut
        return matrix @ x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, Tensor, None]:
        # The whole adjacency is its own transpose; a cut of its rows is not.
        back = _transpose(ctx.matrix) if ctx.cut else ctx.matrix
        return None, back @ upstream.contiguous(), None


def _csr(start: Tensor, column: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    small = shape[1] < 2**31 and len(column) < 2**31
    index = torch.int32 if small else torch.int64
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*CSR.*")
        return torch.sparse_csr_tensor(
            start.to(index), column.to(index), values, shape, check_invariants=False
        )


def _check_ids(what: str, ids: Tensor, count: int) -> None:
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= count):
        raise CounterpointError(
            f"{what} ids run from {int(ids.min())} to {int(ids.max())}; expected 0 to {count - 1} for {count} {what}s; "
            f"map them first, or give the true number of {what}s"
        )
