"""Whole groups on one side, every class with its share of them, groups of several classes counted once."""

import pytest

from counterpoint.data.group_split import split_groups
from counterpoint.errors import CounterpointError

SHARES = {"validation": 0.2, "test": 0.2}


def sides(labels, groups, seed=0, shares=SHARES):
    found = split_groups(labels, groups, shares, seed)
    of_group = {}
    for group, side in zip(groups, found, strict=True):
        assert of_group.setdefault(group, side) == side
    return of_group


@pytest.mark.parametrize("seed", range(5))
def test_every_class_gets_its_share_of_groups(seed):
    labels, groups = list("a" * 10 + "b" * 5), [*map(str, range(15))]
    found = sides(labels, groups, seed)
    for own, counts in ((groups[:10], (6, 2, 2)), (groups[10:], (3, 1, 1))):
        there = [found[group] for group in own]
        assert tuple(there.count(side) for side in ("train", "validation", "test")) == counts
    assert len({tuple(sides(labels, groups, s).values()) for s in range(5)}) > 1


@pytest.mark.parametrize("seed", range(5))
def test_a_group_of_two_classes_counts_for_both(seed):
    """Ten groups hold both classes: the second class finds its share given already and takes no more."""
    labels, groups = list("ab" * 10), [str(i // 2) for i in range(20)]
    found = list(sides(labels, groups, seed).values())
    assert [found.count(side) for side in ("train", "validation", "test")] == [6, 2, 2]
    # The smaller class shares its groups with the larger one, which has five of its own beside them.
    labels, groups = list("ab" * 5 + "b" * 5), [str(i // 2) for i in range(10)] + list("vwxyz")
    found = list(sides(labels, groups, seed).values())
    assert [found.count(side) for side in ("train", "validation", "test")] == [6, 2, 2]


def test_too_few_groups_are_refused():
    with pytest.raises(CounterpointError, match="class 'a' has 2 groups"):
        split_groups(list("aabbb"), list("12345"), SHARES, 0)
