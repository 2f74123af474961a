"""Loops that cannot be walked say so."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.training.batches import BatchPlan, ItemRandom, share


@pytest.mark.parametrize(
    ("length", "size", "drop_last", "lesson"),
    [
        (0, 4, False, "empty source"),
        (3, 0, False, "at least 1"),
        (3, -2, True, "at least 1"),
        (3, 4, True, "no full batch of 4"),
    ],
)
def test_a_loop_needs_rows_and_batches_of_some(length: int, size: int, drop_last: bool, lesson: str) -> None:
    with pytest.raises(CounterpointError, match=lesson):
        BatchPlan(length, size, seed=0, loop="train", shuffle=True, drop_last=drop_last)


def plan(seed: int = 0, shuffle: bool = True, loop: str = "train") -> BatchPlan:
    return BatchPlan(50, 8, seed=seed, loop=loop, shuffle=shuffle, drop_last=False)


def test_the_order_follows_seed_loop_and_epoch_and_nothing_else() -> None:
    one = plan().epoch_order(0)
    assert sorted(one.tolist()) == list(range(50))
    assert torch.equal(one, plan().epoch_order(0))
    assert not torch.equal(one, torch.arange(50))
    for other in (plan(seed=1).epoch_order(0), plan().epoch_order(1), plan(loop="more").epoch_order(0)):
        assert sorted(other.tolist()) == list(range(50))
        assert not torch.equal(one, other)
    assert torch.equal(plan(shuffle=False).epoch_order(3), torch.arange(50))


def test_an_order_of_ones_own_draws_from_the_seed() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        mine = BatchPlan(
            50, 8, seed, "train", True, False, lambda _, draws: torch.randperm(50, generator=draws)
        )
        return mine.epoch_order(epoch).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)


def test_every_row_of_an_epoch_comes_once_and_the_last_batch_is_short() -> None:
    mine = plan()
    order = mine.epoch_order(0)
    batches = [mine.rows(position, order) for position in range(mine.steps_per_epoch)]
    assert [len(rows) for rows in batches] == [8] * 6 + [2]
    assert torch.equal(torch.cat(batches), order)


def test_random_numbers_belong_to_rows_whatever_rank_asks() -> None:
    whole = ItemRandom(7, 5, slice(0, 5), torch.device("cpu"))
    parts = [ItemRandom(7, 5, share(5, rank, 2), torch.device("cpu")) for rank in range(2)]
    for draw in ("uniform", "normal"):
        assert torch.equal(getattr(whole, draw)(3), torch.cat([getattr(part, draw)(3) for part in parts]))
    assert torch.equal(whole.integers(100, 3), torch.cat([part.integers(100, 3) for part in parts]))
    other = ItemRandom(8, 5, slice(0, 5), torch.device("cpu"))
    assert not torch.equal(other.uniform(3), ItemRandom(7, 5, slice(0, 5), torch.device("cpu")).uniform(3))
