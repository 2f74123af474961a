"""The two large matrix products of the streaming kernels, on the fastest routine at hand.

A block of a few hundred rows against a vocabulary or a giant batch is a thin product. On processors, oneDNN's inner
product runs it up to twice as fast as the general routine that ``torch.mm`` calls, and sums long rows with less
rounding; it is taken where this build of torch offers it and the product is worth a call. Elsewhere: ``torch.mm``.
Axes: n rows of a block, m columns, d width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

WORTH_A_CALL = 2**22
TILE_ELEMENTS = 2**18
TILE_ROWS = 1024

InnerProduct = Callable[[Tensor, Tensor], Tensor]


def times_transposed(a: Tensor, b: Tensor, out: Tensor, exponential: bool = False) -> Tensor:
    """Write ``a b^T``, or its exponential, into ``out`` [n, m]; a [n, d], b [m, d]. Working memory: one tile of 1 MB.

    >>> times_transposed(torch.ones(1, 2), torch.ones(3, 2), torch.empty(1, 3)).tolist()
    [[2.0, 2.0, 2.0]]
    """
    inner = _chosen(a, b, len(a) * len(b) * a.shape[1])
    if inner is None:
        torch.mm(a, b.T, out=out)
        return out.exp_() if exponential else out
    width = TILE_ELEMENTS // min(len(a), TILE_ROWS)
    for top in range(0, len(a), TILE_ROWS):
        rows = slice(top, top + TILE_ROWS)
        for start in range(0, len(b), width):
            tile = inner(a[rows], b[start : start + width])
            out[rows, start : start + width] = tile.exp_() if exponential else tile
            del tile  # before the next one is made
    return out


def times(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a b`` [n, d]; a [n, m], b [m, d].

    >>> times(torch.ones(1, 2), torch.ones(2, 3)).tolist()
    [[2.0, 2.0, 2.0]]
    """
    inner = _chosen(a, b, len(a) * b.shape[0] * b.shape[1])
    return a @ b if inner is None else inner(a, b.T)


def _chosen(a: Tensor, b: Tensor, multiplications: int) -> InnerProduct | None:
    single = a.dtype == b.dtype == torch.float32 and a.device.type == b.device.type == "cpu"
    return _inner_product() if single and multiplications >= WORTH_A_CALL else None


@cache
def _inner_product() -> InnerProduct | None:
    """Find oneDNN's inner product and try it; None where this build has none or it answers otherwise than expected."""
    if not torch.backends.mkldnn.is_available():
        return None
    try:
        operator = torch.ops.mkldnn._linear_pointwise.default
        a, b = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
        agrees = torch.equal(operator(a, b, None, "none", [], ""), a @ b.T)
    except (AttributeError, RuntimeError, TypeError):
        return None
    return (lambda x, y: operator(x, y, None, "none", [], "")) if agrees else None
