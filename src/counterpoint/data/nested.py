"""Random splits that stay apart: what other seeds' splits put into validation never lies in a test set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from counterpoint.errors import CounterpointError


def split_seeds(given: str) -> tuple[int, ...]:
    """The seeds in a data option's value.

    >>> split_seeds("1001,1002"), split_seeds("")
    ((1001, 1002), ())
    """
    try:
        return tuple(int(seed) for seed in given.split(",") if seed.strip())
    except ValueError:
        raise CounterpointError(
            f"untested='{given}'; expected seeds of other splits with commas, such as --data-option untested=1001,1002"
        ) from None


def cut(rows: Sequence[int], counts: Mapping[str, int], reserved: Collection[int]) -> dict[int, str]:
    """Which of ``rows``, in their order, go to validation and to test; the others are not named.

    Args:
        counts: rows of each part that is cut. reserved: rows that must not be tested.

    >>> cut([3, 1, 2, 0], {"validation": 1, "test": 2}, ())
    {3: 'validation', 1: 'test', 2: 'test'}
    >>> cut([3, 1, 2, 0], {"validation": 1, "test": 2}, {1})
    {3: 'test', 2: 'test', 1: 'validation'}
    """
    if not reserved:
        parts = [part for part, count in counts.items() for _ in range(count)]
        return dict(zip(rows, parts, strict=False))
    tested = [row for row in rows if row not in reserved][: counts.get("test", 0)]
    sides = dict.fromkeys(tested, "test")
    rest = [row for row in rows if row not in sides]
    return sides | dict.fromkeys(rest[: counts.get("validation", 0)], "validation")
