"""The replay memory: equal quotas, what is dropped, herding against its definition, and classes cut into tasks."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import CounterpointError
from counterpoint.pairs.exemplars import ReplayMemory, capacity, choose, class_order


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.data())
def test_tasks_partition_the_classes(num_classes, data):
    tasks = data.draw(st.integers(1, num_classes))
    parts = class_order(num_classes, tasks, seed=3)
    assert sorted(chain(*parts)) == list(range(num_classes))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == class_order(num_classes, tasks, seed=3)


def test_the_order_is_the_seeds():
    orders = {tuple(chain(*class_order(10, 5, seed))) for seed in range(20)}
    assert len(orders) > 15


def test_every_seen_class_has_the_same_quota_and_keeps_its_best():
    memory = ReplayMemory(20, 6)
    for start in (0, 2, 4):
        memory.update({c: torch.arange(100 * c, 100 * c + 50) for c in (start, start + 1)})
        quota = 20 // (start + 2)
        counts = (memory.stored >= 0).sum(1)
        assert counts[: start + 2].tolist() == [quota] * (start + 2)
        assert counts[start + 2 :].sum() == 0
        assert len(memory) == len(memory.rows()) <= 20
        for label in range(start + 2):
            assert memory.stored[label, :quota].tolist() == list(range(100 * label, 100 * label + quota))


def test_a_class_with_few_rows_keeps_what_it_has():
    memory = ReplayMemory(10, 3)
    memory.update({1: torch.tensor([4, 9])})
    memory.update({0: torch.arange(20, 40)})
    assert memory.rows().tolist() == [20, 21, 22, 23, 24, 4, 9]


def test_nothing_is_kept_when_nothing_may_be():
    memory = ReplayMemory(0, 3)
    memory.update({1: torch.tensor([4, 9])})
    assert len(memory) == 0
    assert memory.rows().tolist() == []


def test_it_comes_back_from_its_state():
    memory, other = ReplayMemory(10, 3), ReplayMemory(10, 3)
    memory.update({1: torch.tensor([4, 9])})
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.rows(), memory.rows())


def test_herding_is_the_greedy_mean():
    rows = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    unit = rows / rows.norm(dim=1, keepdim=True)
    middle, chosen = unit.mean(0), []
    for _ in range(6):
        left = [i for i in range(12) if i not in chosen]
        gap = [float((unit[[*chosen, i]].mean(0) - middle).norm()) for i in left]
        chosen.append(left[gap.index(min(gap))])
    assert choose(6, "herding", size=12, features=rows).tolist() == chosen
    near = sorted(range(12), key=lambda i: float((unit[i] - middle).norm()))
    assert choose(12, "nearest", size=12, features=rows).tolist() == near
    for how in ("random", "herding", "nearest"):
        whole = choose(12, how, size=12, features=rows, seed=5)
        assert sorted(whole.tolist()) == list(range(12))
        assert choose(4, how, size=12, features=rows, seed=5).tolist() == whole[:4].tolist()
        assert len(choose(99, how, size=12, features=rows)) == 12


@pytest.mark.parametrize(
    ("call", "lesson"),
    [
        (lambda: class_order(3, 4, 0), "from 1 task"),
        (lambda: class_order(3, 0, 0), "from 1 task"),
        (lambda: choose(2, "herdin", size=3), "did you mean 'herding'"),
        (lambda: choose(2, "herding", size=3), "needs the features"),
        (lambda: ReplayMemory(-1, 3), "0 .keep nothing"),
        (lambda: ReplayMemory(1, 3).quota(2), "at least one row per class"),
    ],
)
def test_wrong_input_teaches(call, lesson):
    with pytest.raises(CounterpointError, match=lesson):
        call()


def test_choosing_looks_at_features_class_by_class_and_only_where_asked():
    labels = torch.tensor([2, 0, 2, 1, 2, 0])
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0], [3.0, 1.0]])
    asked = []

    def features(place):
        asked.append(place.tolist())
        return rows[place]

    memory = ReplayMemory(4, 3)
    memory.choose([2, 0], labels, "nearest", features=features)
    assert asked == [[0, 2, 4], [1, 5]]
    assert memory.rows().tolist() == [
        1,
        5,
        4,
        0,
    ]  # of class 2 the middle one first, then the earlier of two as far away
    memory.choose([1], labels, "random", seed=7, features=lambda place: pytest.fail("not needed"))
    assert memory.rows().tolist() == [1, 3, 4]


def test_random_choices_are_each_classes_own():
    labels = torch.arange(2).repeat_interleave(40)
    memory = ReplayMemory(80, 2)
    memory.choose([0, 1], labels, "random", seed=3, features=lambda place: place)
    one, other = memory.stored[0, :40], memory.stored[1, :40] - 40
    assert one.tolist() == torch.randperm(40, generator=torch.Generator().manual_seed(3)).tolist()
    assert other.tolist() == torch.randperm(40, generator=torch.Generator().manual_seed(4)).tolist()


@pytest.mark.parametrize("memory", [-1, 7.5, float("nan"), float("inf")])
def test_a_capacity_is_a_share_or_a_whole_number(memory):
    with pytest.raises(CounterpointError, match="a share of the training clips below 1"):
        capacity(memory, 100, 4)
