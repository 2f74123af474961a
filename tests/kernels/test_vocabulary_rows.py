"""The statistics of a block of rows by themselves, whichever path calls them."""

from __future__ import annotations

import torch

from counterpoint.kernels.vocabulary.rows import PickedLogProbs


def test_the_entropy_beside_picked_log_probs_is_positive_and_right() -> None:
    z = torch.randn(5, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids, spread = torch.arange(5)[:, None], torch.full((5,), torch.nan, dtype=torch.float64)
    values = PickedLogProbs(ids, spread)(z.clone(), slice(0, 5), None, None)
    logp = z.log_softmax(1)
    torch.testing.assert_close(values, logp.gather(1, ids))
    torch.testing.assert_close(spread, -(logp.exp() * logp).sum(1))
