"""Modules of objectives under DistributedDataParallel: processes with different numbers of rows end as one with all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed import init_process_group
from torch.nn.parallel import DistributedDataParallel

from counterpoint.integrations import objective
from counterpoint.training import distributed
from objective_inputs import LABELS, D, N, rows
from ranks_harness import Weights, report

Z, Y = rows(1).detach().float(), rows(2).detach().float()
CALLS: dict[str, tuple[dict[str, float | int], Callable[[nn.Module, nn.Module, slice], Tensor]]] = {
    "decoupled": ({}, lambda net, loss, mine: loss(*net(torch.stack([Z[mine], Y[mine]])))),
    "info_nce": ({}, lambda net, loss, mine: loss(*net(torch.stack([Z[mine], Y[mine], Z[mine] * Y[mine]])))),
    "mv_dhel": ({}, lambda net, loss, mine: loss(net(torch.stack([Z[mine], Y[mine], Z[mine] - Y[mine]])))),
    "supcon_views": ({}, lambda net, loss, mine: loss(net(torch.stack([Z[mine], Y[mine]], 1)), LABELS[mine])),
    "supcon_out": ({}, lambda net, loss, mine: loss(net(Z[mine]), LABELS[mine])),
    "triplet": ({"margin": 1.0}, lambda net, loss, mine: loss(net(Z[mine]), LABELS[mine])),
    "mixed_pairs": ({}, lambda net, loss, mine: loss(net(Z[mine]), LABELS[mine].float())),
    "proxy_anchor": ({"num_classes": 3, "dimension": D}, lambda net, loss, mine: loss(net(Z[mine]), LABELS[mine])),
    "robust_views": (
        {"num_rows": N}, lambda net, loss, mine: loss(*net(torch.stack([Z[mine], Y[mine]])), torch.arange(N)[mine])),
    "nnclr": (
        {"queue": 8, "dimension": D},
        lambda net, loss, mine: loss(*net(torch.stack([Z[mine], Y[mine], Z[mine] + 1, Y[mine] - 1])))),
}  # fmt: skip


def train(folder: Path) -> dict[str, Weights]:
    """Three steps of each; 4 rows to the first process, 2 to the second."""
    import os

    if "WORLD_SIZE" in os.environ and not torch.distributed.is_initialized():
        init_process_group("gloo")
    rank, world = distributed.world()
    mine = slice(0, N) if world == 1 else (slice(0, 4), slice(4, N))[rank]
    ended: dict[str, Weights] = {}
    for name, (settings, call) in CALLS.items():
        torch.manual_seed(0)
        net: nn.Module = nn.Sequential(nn.Linear(D, D), nn.Tanh(), nn.Linear(D, D))
        loss: nn.Module = objective(name, **settings)
        both = [net, loss] if list(loss.parameters()) else [net]
        if world > 1:
            net = DistributedDataParallel(net)
            loss = DistributedDataParallel(loss) if len(both) > 1 else loss
        optimizer = torch.optim.SGD([p for module in both for p in module.parameters()], lr=0.3)
        for _ in range(3):
            optimizer.zero_grad()
            call(net, loss, mine).backward()
            optimizer.step()
        ended[name] = {
            **both[0].state_dict(),
            **{f"loss.{key}": value for key, value in getattr(loss, "module", loss).state_dict().items()},
        }
    return ended


if __name__ == "__main__":
    report(train)
