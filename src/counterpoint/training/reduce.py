"""From named per-item losses to one number: sums and counts are added over ranks before the division."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.reduction import Loss
from counterpoint.training import distributed


def reduce_terms(terms: dict[str, Loss]) -> tuple[Tensor, dict[str, float]]:
    """Reduce the terms over the global batch.

    Returns:
        This rank's share of the total loss (shares add up over ranks), and figures to log: ``loss``, ``loss/<term>``
        and every detached statistic's mean.

    Raises:
        CounterpointError: a term is not finite on some rank.
    """
    sums = {
        name: loss.values.sum(dtype=torch.promote_types(loss.values.dtype, torch.float32))
        for name, loss in terms.items()
    }
    counts = {
        name: sums[name].new_tensor(loss.values.numel())
        if loss.counts is None
        else loss.counts.sum().to(sums[name])
        for name, loss in terms.items()
    }
    like = next(iter(sums.values()))
    if distributed.world()[1] > 1 and like.device.type != "mps":
        like = like.double()  # one type on all ranks, whatever a rank without rows computed with
    pairs = [torch.stack([sums[name].detach().to(like), counts[name].detach().to(like)]) for name in terms]
    whole = distributed.total(torch.stack(pairs))
    scale = whole[:, 1].clamp(min=1)
    figures = dict(zip(terms, (whole[:, 0] / scale).tolist(), strict=True))
    if not torch.isfinite(whole).all():
        raise CounterpointError(
            "the loss is not finite ("
            + ", ".join(f"{name}={value}" for name, value in figures.items())
            + "); lower the "
            "learning rate, raise the temperature, or look for NaN in the data; the last checkpoint is whole"
        )
    shares = [
        loss.weight * sums[name] / scale[i].to(sums[name]) for i, (name, loss) in enumerate(terms.items())
    ]
    report = {"loss": sum(loss.weight * figures[name] for name, loss in terms.items())}
    if set(terms) != {"loss"}:
        report |= {f"loss/{name}": value for name, value in figures.items()}
    return torch.stack([share.to(like) for share in shares]).sum(), report | _statistics(terms, like)


def _statistics(terms: dict[str, Loss], like: Tensor) -> dict[str, float]:
    """The mean of every detached statistic over the items of all ranks."""
    named = {
        (f"{name}/{stat}" if len(terms) > 1 else stat): value.detach().float()
        for name, loss in terms.items()
        for stat, value in loss.stats.items()
    }
    if not named or distributed.world()[1] == 1:
        return {name: float(value.mean()) for name, value in named.items()}
    # A rank without rows has nothing to say, or NaN.
    there = [value[value.isfinite()].to(like) for value in named.values()]
    pairs = [torch.stack([value.sum(), like.new_tensor(value.numel())]) for value in there]
    whole = distributed.total(torch.stack(pairs))
    return dict(zip(named, (whole[:, 0] / whole[:, 1].clamp(min=1)).tolist(), strict=True))
