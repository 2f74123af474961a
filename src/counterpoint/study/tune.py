"""Tuning: exactly as many different trials for every arm, judged on validation.

A grid of exactly that many points is tried whole. Of a larger space the arm's own settings are the first trial; a grid that is
one point short is filled up with them. A space with fewer configurations is refused, or its arm would have been tuned less.
Of a large grid a comparison tries points drawn at random; a search over one method's settings has Optuna choose them.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.study.case import Range

Settings = dict[str, Any]
Evaluate = Callable[[list[tuple[int, Settings]]], list[float | None]]
"""Runs numbered trials and returns each one's validation figure, or None for one that failed."""

LONG = 64
"""Whole numbers from which on a range is searched and no longer listed."""
ATTEMPTS = 200
"""Draws in a row that may repeat earlier ones before the space counts as used up."""


@dataclass(frozen=True)
class Trial:
    """One configuration that was tried: what differs from the arm's own settings, and its validation figure."""

    number: int
    settings: Settings
    value: float | None


def search(
    ranges: Mapping[str, Range],
    own: Mapping[str, Any],
    trials: int,
    evaluate: Evaluate,
    at_once: int = 1,
    *,
    adaptive: bool = False,
    points: Sequence[Settings] = (),
) -> list[Trial]:
    """Try ``trials`` different configurations. Deterministic, so that finished trials are reused.

    Args:
        ranges: setting -> range. own: the arm's settings. at_once: how many trials ``evaluate`` may get together.
        adaptive: Optuna's sampler chooses the points of a grid larger than ``trials``, too.
        points: configurations to try in place of a search.

    Raises:
        CounterpointError: there are fewer configurations, or none could be evaluated.
    """
    grid = list(points) or _grid(ranges, own)
    if grid is None or (adaptive and not points and len(grid) > trials):
        done = _optuna(ranges, own, trials, evaluate, at_once)
    else:
        chosen = list(points) or _points(grid, own, trials)
        if len(chosen) < trials:
            raise CounterpointError(
                f"{len(chosen)} configurations for {trials} trials: {_too_few(chosen, trials)}"
            )
        done = []
        for block in _blocks(list(enumerate(chosen)), at_once):
            done += _run(block, evaluate)
    if all(trial.value is None for trial in done):
        raise CounterpointError(f"none of {len(done)} tuning trials could be finished")
    return done


def require_trials(arm: str, ranges: Mapping[str, Range], own: Mapping[str, Any], trials: int) -> None:
    """See that an arm's ranges hold as many configurations as it is to try.

    Raises:
        CounterpointError: they hold fewer.
    """
    grid = _grid(ranges, own)
    points = None if grid is None else _points(grid, own, trials)
    if points is not None and len(points) < trials:
        raise CounterpointError(
            f"arm '{arm}' has {len(points)} configurations for {trials} trials: {_too_few(points, trials)}"
        )


def _too_few(points: Sequence[Settings], trials: int) -> str:
    return f"every arm gets the same number, so give trials={len(points)} for all, or widen its ranges to {trials}"


def _points(grid: Sequence[Settings], own: Mapping[str, Any], trials: int) -> list[Settings]:
    """Which points of a grid are tried, the arm's own (no difference from itself: ``{}``) first."""
    rest = [point for point in grid if any(own.get(name) != value for name, value in point.items())]
    inside = len(rest) < len(grid)
    if len(grid) == trials and not inside:
        return list(grid)
    if len(rest) >= trials:
        chosen = sorted(random.Random(0).sample(range(len(rest)), trials - 1))
        rest = [rest[i] for i in chosen]
    return [{}, *rest]


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


def _grid(ranges: Mapping[str, Range], own: Mapping[str, Any]) -> list[Settings] | None:
    """All configurations, or None where a range is continuous or long."""
    lists = []
    for name, given in ranges.items():
        if isinstance(given, tuple):
            if not _whole(own.get(name)) or given[1] - given[0] >= LONG:
                return None
            given = list(range(int(given[0]), int(given[1]) + 1))
        lists.append(given)
    return [dict(zip(ranges, point, strict=True)) for point in itertools.product(*lists)]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _blocks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _optuna(
    ranges: Mapping[str, Range],
    own: Mapping[str, Any],
    trials: int,
    evaluate: Evaluate,
    at_once: int,
) -> list[Trial]:
    try:
        import optuna
    except ImportError:
        raise MissingExtra("optuna", "tune") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: distribution(given, own.get(name)) for name, given in ranges.items()}
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    done = _run([(0, {})], evaluate)
    first = done[0].value
    point = {name: encoded(given, own.get(name)) for name, given in ranges.items()}
    inside = all(value is not None and _contains(space[name], value) for name, value in point.items())
    if first is not None and math.isfinite(first) and inside:
        study.add_trial(optuna.trial.create_trial(params=point, distributions=space, value=first))
    tried: dict[str, float | None] = {repr({name: own.get(name) for name in ranges}): first}
    while len(done) < trials:
        block: list[tuple[Any, Settings]] = []
        for _ in range(min(at_once, trials - len(done))):
            for _attempt in range(ATTEMPTS):
                drawn = study.ask(fixed_distributions=space)
                settings = {name: _decoded(ranges[name], drawn.params[name]) for name in ranges}
                if repr(settings) not in tried and all(settings != other for _, other in block):
                    block.append((drawn, settings))
                    break
                _tell(optuna, study, drawn, tried.get(repr(settings)))
            else:
                raise CounterpointError(
                    f"{len(done) + len(block)} configurations were drawn for {trials} trials, and then none that is new; give "
                    f"trials={len(done) + len(block)} for all arms, or wider ranges than {', '.join(ranges)} have"
                )
        numbered = [(len(done) + i, settings) for i, (_, settings) in enumerate(block)]
        for (drawn, settings), trial in zip(block, _run(numbered, evaluate), strict=True):
            tried[repr(settings)] = trial.value
            _tell(optuna, study, drawn, trial.value)
            done.append(trial)
    return done


def _tell(optuna: Any, study: Any, drawn: Any, value: float | None) -> None:
    good = value is not None and math.isfinite(value)
    study.tell(drawn, value if good else None, state=None if good else optuna.trial.TrialState.FAIL)


def distribution(given: Range, own: Any) -> Any:
    """Optuna's distribution of a range; choices by their place in the list. Needs Optuna."""
    import optuna

    if isinstance(given, list):
        return optuna.distributions.CategoricalDistribution(list(range(len(given))))
    low, high = given
    if _whole(own):
        return optuna.distributions.IntDistribution(int(low), int(high), log=low > 0)
    return optuna.distributions.FloatDistribution(float(low), float(high), log=low > 0)


def encoded(given: Range, value: Any) -> Any:
    """A setting's value as Optuna's; None for one that is not among the choices."""
    if isinstance(given, list):
        return given.index(value) if value in given else None
    return value


def _decoded(given: Range, value: Any) -> Any:
    return given[value] if isinstance(given, list) else value


def _contains(distribution: Any, value: Any) -> bool:
    choices = getattr(distribution, "choices", None)
    return value in choices if choices is not None else distribution.low <= value <= distribution.high
