"""Cuts validation and test out of labelled rows so that no group (a speaker, a town, a prompt) is on two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from counterpoint.errors import CounterpointError, counted


def split_groups(
    labels: Sequence[str], groups: Sequence[str], shares: Mapping[str, float], seed: int, what: str = "group"
) -> list[str]:
    """Assign whole groups to "train" or to one of ``shares``, class by class, the classes with the fewest groups first.

    Every class gets its share of groups on each side, and at least one.

    Args:
        labels: of the rows.
        groups: of the rows; a group may hold rows of several classes.
        shares: side -> share of each class's groups, such as ``{"validation": 0.1, "test": 0.2}``.
        seed: of the draw; rows in another order are drawn alike.
        what: the groups' name in messages.

    Returns:
        The side of every row.

    Raises:
        CounterpointError: a class has too few groups to be on every side, or no assignment puts it there.

    >>> sides = split_groups(list("aabbaabb"), list("11223344"), {"test": 0.5}, seed=0)
    >>> sides[0] == sides[1] and sorted(sides).count("test")
    4
    """
    members: dict[str, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        members.setdefault(label, set()).add(group)
    generator = np.random.default_rng(seed)
    side: dict[str, str] = {}
    for label in sorted(members, key=lambda name: (len(members[name]), name)):
        own = members[label]
        if len(own) <= len(shares):
            raise CounterpointError(
                f"class '{label}' has {counted(len(own), 'group')} by {what} ({', '.join(sorted(own)[:3])}); a split by {what} "
                f"into train, {' and '.join(shares)} needs at least {len(shares) + 1}: leave the class out with --data-option classes=..., "
                "split by something else, or name the splits yourself"
            )
        free = generator.permutation(sorted(own - set(side))).tolist()
        for name, share in shares.items():
            already = sum(side.get(group) == name for group in own)
            wanted = max(0, max(1, round(share * len(own))) - already)
            side |= dict.fromkeys(free[:wanted], name)
            free = free[wanted:]
        side |= dict.fromkeys(free, "train")
    sides = [side[group] for group in groups]
    for label in members:
        there = {name for name, own in zip(sides, labels, strict=True) if own == label}
        missing = {"train", *shares} - there
        if missing:
            raise CounterpointError(
                f"no split by {what} was found with class '{label}' in {' and '.join(sorted(missing))}; its groups are shared "
                "with other classes: try another seed, or name the splits yourself"
            )
    return sides
