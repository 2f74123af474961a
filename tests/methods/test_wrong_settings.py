"""Every method refuses every number that no setting can have, by name, before anything runs; and names nobody knows."""

from __future__ import annotations

import math

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.methods import groups
from counterpoint.methods.catalog import load, ready

WRONG = [
    (key, name, value)
    for key in ready()
    for name, usual in groups.flat(load(key)()).items()
    if isinstance(usual, int | float) and not isinstance(usual, bool)
    for value in ((-1,) if isinstance(usual, int) else (-1.0, math.nan, math.inf))
]


@pytest.mark.parametrize(("key", "name", "value"), WRONG)
def test_a_number_out_of_range_is_refused(key: str, name: str, value: float) -> None:
    with pytest.raises(CounterpointError, match=rf"{key}: {name}={value}(\.0)?; expected a number from 0 on"):
        load(key).settings(**{name: value})


@pytest.mark.parametrize("key", ready())
def test_a_misspelt_setting_is_told_its_nearest(key: str) -> None:
    name = next(iter(groups.flat(load(key)())))
    with pytest.raises(CounterpointError, match=f"did you mean '{name}'"):
        load(key).settings(**{name + "s": 1})


def test_every_method_has_settings_that_are_tried() -> None:
    assert {key for key, _, _ in WRONG} == set(ready())
