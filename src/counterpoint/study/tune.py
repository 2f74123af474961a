"""Tuning: the same number of trials for every arm, judged on validation, the given settings always among them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.study.case import Range

Settings = dict[str, Any]
Evaluate = Callable[[list[tuple[int, Settings]]], list[float | None]]
"""Runs numbered trials and returns each one's validation figure, or None for one that failed."""


@dataclass(frozen=True)
class Trial:
    """One configuration that was tried: what differs from the arm's own settings, and its validation figure."""

    number: int
    settings: Settings
    value: float | None


def search(
    ranges: Mapping[str, Range], own: Mapping[str, Any], trials: int, evaluate: Evaluate, at_once: int = 1
) -> list[Trial]:
    """Try up to ``trials`` configurations; the first is the arm's own. Deterministic, so that finished trials are reused.

    A space with no more configurations than trials is tried whole; a larger one is searched by Optuna.

    Args:
        ranges: setting -> range. own: the arm's settings. at_once: how many trials ``evaluate`` may get together.

    Raises:
        CounterpointError: no configuration could be evaluated.
    """
    done = _run([(0, {})], evaluate)
    grid = _grid(ranges)
    if grid is not None and len(grid) <= trials:
        rest = [point for point in grid if any(own.get(name) != value for name, value in point.items())]
        for block in _blocks(list(enumerate(rest, start=1)), at_once):
            done += _run(block, evaluate)
    elif trials > 1:
        done += _optuna(ranges, own, trials, done[0], evaluate, at_once)
    if all(trial.value is None for trial in done):
        raise CounterpointError(
            f"none of {len(done)} tuning trials could be finished; run the method once by itself to see why"
        )
    return done


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest figure; the earliest among equals, so that the given settings win a tie."""
    return max(
        trials, key=lambda t: (-math.inf if t.value is None or math.isnan(t.value) else t.value, -t.number)
    )


def _run(block: list[tuple[int, Settings]], evaluate: Evaluate) -> list[Trial]:
    return [
        Trial(number, settings, value)
        for (number, settings), value in zip(block, evaluate(block), strict=True)
    ]


def _grid(ranges: Mapping[str, Range]) -> list[Settings] | None:
    if not ranges or any(isinstance(given, tuple) for given in ranges.values()):
        return None
    return [dict(zip(ranges, point, strict=True)) for point in itertools.product(*ranges.values())]


def _blocks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _optuna(
    ranges: Mapping[str, Range],
    own: Mapping[str, Any],
    trials: int,
    first: Trial,
    evaluate: Evaluate,
    at_once: int,
) -> list[Trial]:
    try:
        import optuna
    except ImportError:
        raise MissingExtra("optuna", "tune") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: _distribution(optuna, given, own.get(name)) for name, given in ranges.items()}
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    point = {name: _encoded(given, own.get(name)) for name, given in ranges.items()}
    inside = all(value is not None and _contains(space[name], value) for name, value in point.items())
    if first.value is not None and math.isfinite(first.value) and inside:
        study.add_trial(optuna.trial.create_trial(params=point, distributions=space, value=first.value))
    done: list[Trial] = []
    known: dict[str, float | None] = {}
    while len(done) < trials - 1:
        asked = [study.ask(fixed_distributions=space) for _ in range(min(at_once, trials - 1 - len(done)))]
        points = [{name: _decoded(ranges[name], a.params[name]) for name in ranges} for a in asked]
        fresh = [(len(done) + 1 + i, p) for i, p in enumerate(points) if repr(p) not in known]
        known |= {repr(p): value for (_, p), value in zip(fresh, evaluate(fresh), strict=True)}
        for trial, settings in zip(asked, points, strict=True):
            value = known[repr(settings)]
            good = value is not None and math.isfinite(value)
            study.tell(trial, value if good else None, state=None if good else optuna.trial.TrialState.FAIL)
            done.append(Trial(len(done) + 1, settings, value))
    return done


def _distribution(optuna: Any, given: Range, own: Any) -> Any:
    if isinstance(given, list):
        return optuna.distributions.CategoricalDistribution(list(range(len(given))))
    low, high = given
    if isinstance(own, int) and not isinstance(own, bool):
        return optuna.distributions.IntDistribution(int(low), int(high), log=low > 0)
    return optuna.distributions.FloatDistribution(float(low), float(high), log=low > 0)


def _encoded(given: Range, value: Any) -> Any:
    if isinstance(given, list):
        return given.index(value) if value in given else None
    return value


def _decoded(given: Range, value: Any) -> Any:
    return given[value] if isinstance(given, list) else value


def _contains(distribution: Any, value: Any) -> bool:
    choices = getattr(distribution, "choices", None)
    return value in choices if choices is not None else distribution.low <= value <= distribution.high
