"""Pools by a loop; draws that are uniform, without repeats where they can be; what leaves nothing."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.pairs.hard_negatives import choose, pool_of


def test_a_pool_by_a_loop() -> None:
    documents = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    scores = torch.arange(40, 0, -1).float()
    relevant = {int(documents[3]), int(documents[12]), int(documents[20])}
    pool = pool_of(documents, scores, relevant, skip=10, keep=15)
    expected = [rank for rank in range(10, 25) if int(documents[rank]) not in relevant]
    assert pool.documents.tolist() == [int(documents[rank]) for rank in expected]
    assert pool.scores.tolist() == [float(scores[rank]) for rank in expected]
    assert pool.highest == float(scores[10])


def test_every_document_of_a_pool_is_as_likely() -> None:
    uniform = torch.rand(4000, 6, generator=torch.Generator().manual_seed(0))
    chosen = choose(torch.full((4000,), 5), uniform, 2)
    counts = Counter(chosen.flatten().tolist())
    assert set(counts) == set(range(5))
    assert all(abs(count - 1600) < 160 for count in counts.values())
    assert (chosen[:, 0] != chosen[:, 1]).all()


def test_a_small_pool_is_drawn_with_repeats() -> None:
    uniform = torch.tensor([[0.99, 0.0, 0.6, 0.4]])
    assert choose(torch.tensor([3]), uniform, 4).tolist() == [[2, 0, 1, 1]]
    assert choose(torch.tensor([1]), uniform, 4).tolist() == [[0, 0, 0, 0]]
    assert choose(torch.zeros(0, dtype=torch.long), uniform[:0], 4).shape == (0, 4)


def test_a_ranking_that_leaves_nothing_is_said() -> None:
    with pytest.raises(CounterpointError, match="leaves no negative after the first 2"):
        pool_of(torch.tensor([4, 2, 9]), torch.tensor([3.0, 2.0, 1.0]), {9}, skip=2)
