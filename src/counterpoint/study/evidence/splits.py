"""Splits of a seed's own: how far they overlap, and which seeds' validation data a test set must not hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.study.case import OF_SEED, OF_TUNING

TEST_SHARE = 0.2
"""Share of the rows that the loaders cut for testing, where no option says another."""


def overlap_of(options: Mapping[str, Any]) -> float:
    """n_test / n_train of data whose split is drawn anew for every seed; 0 where all seeds share one split.

    n_train counts every row that is not tested, also those that a run leaves out: what makes two seeds' figures alike is how
    many rows both test sets hold.

    >>> overlap_of({"seed": 1, "test": 0.2}), overlap_of({"seed": OF_SEED, "test": 0.2})
    (0.0, 0.25)
    """
    if OF_SEED not in options.values():
        return 0.0
    share = float(options.get("test", TEST_SHARE))
    return share / (1 - share)


def options_of(options: Mapping[str, Any], seed: int, tuning_seeds: tuple[int, ...]) -> dict[str, Any]:
    """The data options of a run: ``OF_SEED`` becomes its seed plus one, ``OF_TUNING`` the same of the tuning seeds.

    A tuning run, whose seed is one of ``tuning_seeds``, keeps nothing from itself: its option is left out.
    """
    result = {}
    for name, given in options.items():
        if given == OF_TUNING:
            if seed in tuning_seeds:
                continue
            given = ",".join(str(other + 1) for other in tuning_seeds)
        result[name] = seed + 1 if given == OF_SEED else given
    return result


def require_nested(arm: str, options: Mapping[str, Any]) -> None:
    """See that a tuned arm whose every seed has a split of its own is never tested on what tuning validated on.

    Raises:
        CounterpointError: no data option is ``OF_TUNING``.
    """
    if OF_SEED in options.values() and OF_TUNING not in options.values():
        raise CounterpointError(
            f"arm '{arm}' is tuned and every seed has a split of its own, so test sets would hold rows that tuning validated "
            'on; add data_options={"untested": OF_TUNING}'
        )
