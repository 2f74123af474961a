"""Every method refuses every number that no setting can have, by name, before anything runs; and names nobody knows."""

from __future__ import annotations

import inspect
import math
import sys
from typing import Any

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


@pytest.mark.parametrize("key", ready())
def test_numbers_out_of_range_are_refused(key: str) -> None:
    """One test a method: two thousand of their own would cost more than what they try."""
    tried = [(name, value) for method, name, value in WRONG if method == key]
    assert tried
    for name, value in tried:
        with pytest.raises(
            CounterpointError, match=rf"{key}: {name}={value}(\.0)?; expected a number (from 0 on|above 0)"
        ):
            load(key).settings(**{name: value})


@pytest.mark.parametrize("key", ready())
def test_an_amount_of_nothing_is_refused(key: str) -> None:
    """Or leaves a part of the method out: then its docstring says so."""
    cls = load(key)
    amounts = [
        n
        for n, usual in groups.flat(cls()).items()
        if n.rpartition(".")[2] in ("at_once", "batch_size", "answers", "dim", "epochs", "max_new_tokens")
        and isinstance(usual, int | float)
    ]
    for name in amounts:
        if name in cls.optional:
            assert groups.value_of(cls.settings(**{name: 0}), name) == 0
            continue
        with pytest.raises(CounterpointError, match=rf"{key}: {name}=0(\.0)?; expected a number above 0"):
            cls.settings(**{name: 0})
    assert set(cls.optional) <= set(amounts)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        *(("contrastive-ucb", name) for name in ("rounds", "steps", "samples")),
        ("count-ucb", "rounds"),
        *(("spr-ucb", name) for name in ("frames", "segment", "window")),
    ],
)
def test_a_world_that_nobody_plays_is_refused(key: str, name: str) -> None:
    nothing: Any = None
    with pytest.raises(CounterpointError, match=f"{key}: {name}=0; expected a number above 0"):
        load(key).settings(**{name: 0}).fit(nothing, nothing, nothing)


@pytest.mark.parametrize(
    ("key", "settings", "name"),
    [
        *(("dcl", {"variant": variant}, "queue_size") for variant in ("nnclr", "nnclr-dcl")),
        *(
            ("unisd", {"mode": "unisd_star", "contrast.negatives": how}, "contrast.num_negatives")
            for how in ("written", "sampled")
        ),
    ],
)
def test_a_part_that_has_nothing_to_work_on_is_refused(key: str, settings: dict[str, Any], name: str) -> None:
    nothing: Any = None
    with pytest.raises(CounterpointError, match=f"{key}: {name}=0; expected a number above 0"):
        load(key).settings(**{**settings, name: 0}).check(nothing)


@pytest.mark.parametrize(("key", "name"), [("contrastive-primer", "hidden"), ("tfidf", "iterations")])
def test_a_width_of_nothing_and_a_solver_without_a_step_are_refused(key: str, name: str) -> None:
    with pytest.raises(CounterpointError, match=f"{key}: {name}=0; expected a number above 0"):
        load(key).settings(**{name: 0})


def test_an_amount_that_nothing_reads_may_be_nothing() -> None:
    nothing: Any = None
    load("dcl").settings(queue_size=0).check(nothing)
    load("unisd").settings(
        **{"mode": "unisd_star", "contrast.negatives": "other", "contrast.num_negatives": 0}
    ).check(nothing)
    load("unisd").settings(**{"mode": "plain", "contrast.num_negatives": 0}).check(nothing)


@pytest.mark.parametrize("key", ready())
def test_a_misspelt_setting_is_told_its_nearest(key: str) -> None:
    name = next(iter(groups.flat(load(key)())))
    with pytest.raises(CounterpointError, match=f"did you mean '{name}'"):
        load(key).settings(**{name + "s": 1})


@pytest.mark.parametrize("key", ready())
def test_a_method_that_leaves_out_incomplete_batches_says_so(key: str) -> None:
    source = inspect.getsource(sys.modules[load(key).__module__])
    assert load(key).full_batches == ("self.batch_size, epochs=self.epochs, drop_last=True" in source)
