"""The few collectives a run needs, each the identity on one process. Built on torch.distributed; launched by Accelerate."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models import sharding


def world() -> tuple[int, int]:
    """(rank, number of processes)."""
    return (
        (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)
    )


@contextmanager
def others_alive() -> Iterator[None]:
    """Inside, what a collective raises when another process is gone becomes one line.

    Raises:
        CounterpointError: so.
    """
    try:
        yield
    except RuntimeError as error:
        rank, size = world()
        text = " ".join(str(error).split())
        if size == 1 or not (isinstance(error, GONE) or any(mark in text for mark in CLOSED)):
            raise
        raise CounterpointError(
            f"process {rank} of {size} lost another one, which was killed or failed; see what that one wrote, and start "
            "the same command again: the run goes on from its newest checkpoint"
        ) from None


GONE = (dist.DistBackendError, dist.DistNetworkError) if dist.is_available() else ()
CLOSED = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo/transport")
"""What gloo's own errors say of a process that is gone; NCCL's are of the types above."""


def total(value: Tensor) -> Tensor:
    """Sum of a detached tensor over all ranks."""
    if world()[1] > 1:
        value = value.detach().clone()
        dist.all_reduce(value)
    return value


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add the gradients of all ranks; each rank's loss is already divided by the global count."""
    if world()[1] == 1:
        return
    owned = [p for p in parameters if p.requires_grad]
    for dtype in {p.dtype for p in owned}:
        group = [p for p in owned if p.dtype == dtype]
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in group])
        dist.all_reduce(flat)
        offset = 0
        for p in group:
            p.grad = flat[offset : offset + p.numel()].view_as(p).clone()
            offset += p.numel()


def broadcast(module: nn.Module) -> None:
    """Give every rank the first rank's parameters and buffers; shards are each rank's own."""
    if world()[1] > 1:
        for value in (*module.parameters(), *module.buffers()):
            if not sharding.is_shard(value) and not value.is_meta:  # those are in files that all read
                dist.broadcast(value.data, src=0)


def sizes(count: int, device: torch.device) -> list[int]:
    """Row counts of all ranks, in rank order."""
    rank, ranks = world()
    if ranks == 1:
        return [count]
    counts = torch.zeros(ranks, dtype=torch.int64, device=device)
    counts[rank] = count
    return total(counts).tolist()


class _Gather(torch.autograd.Function):
    """All ranks' rows, in rank order; the backward adds what every rank has to say about this rank's rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts, ctx.rank = counts, world()[0]
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: rows.shape[0]] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded.contiguous())
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        start = sum(ctx.counts[: ctx.rank])
        return grad[start : start + ctx.counts[ctx.rank]], None


def gather(rows: Tensor) -> Tensor:
    """[n, ...] -> [N, ...]: this rank's rows among all ranks' rows, differentiable; ranks may differ in n."""
    if world()[1] == 1:
        return rows
    return _Gather.apply(rows, sizes(rows.shape[0], rows.device))


def gather_tensors(
    rows: tuple[Tensor | None, ...], constant: Collection[int] = ()
) -> tuple[Tensor | None, ...] | None:
    """All ranks' rows of several tensors, those at the places in ``constant`` without gradient; None on one process."""
    if world()[1] == 1:
        return None
    return tuple(
        row if row is None else gather(row.detach() if position in constant else row)
        for position, row in enumerate(rows)
    )
