"""Steps of text training that stand by themselves: replaced tokens, the answer under the worst noise, folds.

Random numbers come from the batch, for the encoder's longest text, so that neither padding nor ranks change them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoint.models.text.detector import Detector
from counterpoint.objectives.labels.adversarial import disturbed, first_noise, worst_noise
from counterpoint.objectives.labels.replaced_tokens import (
    choose_gaps,
    corrupt,
    detection_loss,
    generator_loss,
    sample_tokens,
)
from counterpoint.objectives.reduction import Loss
from counterpoint.training import Run
from counterpoint.training.batches import Batch


def replaced_tokens(
    run: Run, detector: Detector, batch: Batch, mask_rate: float, weight: float
) -> dict[str, Loss]:
    """The generator's and the encoder's losses on a batch of ``Coded`` texts."""
    ids, mask = batch.items.ids, batch.items.mask
    draws = batch.random.uniform(2, detector.encoder.limit)[..., : ids.shape[1]]
    gaps = choose_gaps(draws[:, 0], detector.candidates(ids, mask), mask_rate)
    hidden = torch.where(gaps, detector.encoder.mask_id, ids)
    scores = detector.scores(run.forward(detector, hidden, mask, "fill"))
    filled = ids.masked_scatter(gaps, sample_tokens(scores[gaps], draws[:, 1][gaps]))
    corrupted = corrupt(ids, gaps, filled)
    detected = run.forward(detector, corrupted, mask, "find")
    return {
        "generator": generator_loss(scores, ids, gaps),
        "detection": detection_loss(detected, ids, corrupted, mask, weight),
    }


def attacked(run: Run, net: nn.Module, batch: Batch, logits: Tensor, std: float, step: float) -> Tensor:
    """[n, C] logits under the noise on the normalised embeddings that changes the answer most.

    Args:
        logits: [n, C], the answer without noise. std: of the first noise. step: how far it climbs.
    """
    ids, mask = batch.items.ids, batch.items.mask
    with torch.no_grad():
        embeddings = net.embed(ids)  # type: ignore[operator]
    draws = batch.random.normal(int(net.limit), embeddings.shape[2])[:, : ids.shape[1]]  # type: ignore[arg-type]

    def answer(noise: Tensor) -> Tensor:
        return run.forward(net, ids, mask, embedded=disturbed(embeddings, noise), out="logits")

    return answer(worst_noise(answer, first_noise(draws, std), logits, step=step))


def stratified_folds(targets: Tensor, count: int, seed: int) -> Tensor:
    """[N] numbers of folds for targets [N, C], every class spread evenly over them.

    >>> stratified_folds(torch.eye(2).repeat(2, 1), 2, seed=0).view(2, 2).sum(0).tolist()
    [1, 1]
    """
    draws = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    order = draws[targets[draws].argmax(1).argsort(stable=True)] if targets.shape[1] else draws
    folds = torch.empty(len(targets), dtype=torch.long)
    folds[order] = torch.arange(len(targets)) % count
    return folds
