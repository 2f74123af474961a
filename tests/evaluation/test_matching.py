"""Recall of partners: ranks as plain float64 loops find them, ties against, whatever the rounding of the products."""

import pytest
import torch
from torch.nn.functional import normalize

from counterpoint.evaluation.matching import matching_recall


def by_hand(one: torch.Tensor, other: torch.Tensor, k: int) -> float:
    table = normalize(one.double(), dim=1) @ normalize(other.double(), dim=1).T
    hits = 0
    for row in range(len(table)):
        better = sum(bool(value >= table[row, row]) for c, value in enumerate(table[row]) if c != row)
        hits += better < k
    return hits / len(table)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("size", [7, 1000])
def test_ranks_are_those_of_a_plain_loop(k, size):
    torch.manual_seed(0)
    # Wide rows that are hard to tell apart: a partner's own similarity rounds differently in a product and in a sum.
    one = torch.randn(400, 96)
    other = one + 2.5 * torch.randn(400, 96)
    found = matching_recall(one, other, k=k, size=size)
    assert found == pytest.approx((by_hand(one, other, k), by_hand(other, one, k)), abs=1e-9)
    assert 0.1 < found[0] < 0.99


def test_rows_that_are_all_the_same_find_nothing():
    same = torch.ones(6, 3)
    assert matching_recall(same, same) == (0.0, 0.0)
    assert matching_recall(same, same, k=6) == (1.0, 1.0)
