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
    assert matching_recall(same, same, same=torch.arange(6)) == (0.0, 0.0)


def test_equal_partners_are_one_partner():
    one = torch.eye(4)[torch.arange(40) % 4]
    for k in (1, 5):
        assert matching_recall(one, one, k=k, size=7) == (1.0, 1.0)
    assert matching_recall(one, one, k=9, same=torch.arange(40)) == (0.0, 0.0)


def test_a_model_that_confuses_different_partners_gains_nothing_by_it():
    given = torch.arange(8) % 4
    confused = torch.eye(2)[given // 2]  # four partners, of which two and two look the same
    assert matching_recall(confused, confused, same=given) == (0.0, 0.0)
    assert matching_recall(confused, confused, k=3, same=given) == (1.0, 1.0)


def test_any_partner_of_a_group_counts():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    partners = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    assert matching_recall(images, partners, same=torch.tensor([0, 0, 1])) == (2 / 3, 2 / 3)
    assert matching_recall(images, partners, same=torch.arange(3)) == (0.0, 0.0)


def test_a_model_that_gives_no_numbers_finds_nothing():
    wrong = torch.full((4, 3), torch.nan)
    assert matching_recall(wrong, wrong, same=torch.arange(4)) == (0.0, 0.0)
