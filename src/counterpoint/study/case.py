"""A reproduction case: a paper's effect against the paper's baseline, small enough to run here. Only data, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Range = tuple[float, float] | list[Any]
"""A setting's tuning range: ``(low, high)``, drawn on a log scale, or a list of choices."""


OF_SEED = "{seed + 1}"
"""As a data option's value: the run's seed plus one. ``data_options={"seed": OF_SEED}`` draws the split anew for every seed.

Plus one, so that the split of seed 0, which everybody gets who asks for none and on which a case is prepared, is none of them.
"""

OF_TUNING = "{tuning seeds + 1}"
"""As a data option's value: the split seeds that tuning used, with commas. ``data_options={"seed": OF_SEED, "untested":
OF_TUNING}`` holds the rows that tuning validated on out of every seed's test set."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a comparison: a method with its settings, and what differs from the case's data, model or budget.

    Attributes:
        method: the catalog's key.
        settings: settings that differ from the method's defaults.
        tune: tuning ranges on the validation split; None means the method's own ``search`` but for what ``settings`` fixes,
            ``{}`` means nothing. A name may stand in ``settings``, too: there it is where tuning starts.
        data, data_options, model, budget: replace the case's when given.
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    tune: Mapping[str, Range] | None = None
    data: str | None = None
    data_options: Mapping[str, Any] | None = None
    model: str | None = None
    budget: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Something the paper says, as a contrast over arms whose mean over seeds should exceed ``above``.

    ``contrast`` maps arms to coefficients: ``{"dcl": 1, "simclr": -1}`` says that dcl is better than simclr;
    four arms say that one gain is larger than another; one arm alone makes a statement about its own figure.
    For a metric of which less is better, turn the signs. The claim is shown when the whole 95 % interval of the
    contrast, computed seed by seed, lies above ``above``, and its p-value stays below 0.05 when it is corrected for all
    claims of the method. ``unequal`` says why arms of which only some are tuned may be compared; without it they may not.

    >>> Claim.better("decoupled wins at a small batch", "dcl", "simclr", metric="knn").contrast
    {'dcl': 1.0, 'simclr': -1.0}
    """

    text: str
    contrast: Mapping[str, float]
    metric: str | None = None
    above: float = 0.0
    unequal: str = ""

    @classmethod
    def better(
        cls,
        text: str,
        winner: str,
        loser: str,
        *,
        metric: str | None = None,
        above: float = 0.0,
        unequal: str = "",
    ) -> Claim:
        """Say that one arm's metric (the task's primary one if None) is higher than another's by ``above``."""
        return cls(
            text=text, contrast={winner: 1.0, loser: -1.0}, metric=metric, above=above, unequal=unequal
        )


@dataclass(frozen=True, kw_only=True)
class Case:
    """A paper's effect on small real data.

    Attributes:
        key: the method's key in the catalog.
        data: bundled name of the data, and ``data_options`` for its loader; an option that is ``OF_SEED`` takes each run's
            seed plus one, so that intervals are over splits, too, and tuning has splits of its own.
        arms: name -> ``Arm``, or the short form ``(method key, settings)``.
        claims: what the paper says, each checked against the seeds' figures.
        baseline: the arm that differences are taken against.
        budget: one of steps, examples, tokens, seconds; the same for every arm that does not name its own.
        seeds: how many; the same seeds for every arm, so that differences are paired.
        trials: tuning trials on validation, the same number for every arm that is tuned; an arm whose ranges hold fewer
            configurations is refused, and so is a claim that sets a tuned arm against an untuned one, unless it is ``unequal``.
        tune_by: the metric that tuning goes by, for every arm, and of which more is better; None means the task's primary one.
        tuning_seeds: seeds a trial is averaged over; they are never those of the comparison.
        kind: kind of data; None means the kind in the catalog.
        model: None means the task's default.
        reply_tokens: longest reply where answers are measured; None goes by the length of the solutions.
        metrics: which metrics the evidence table shows, the primary one first; empty means all.
        measure: extra metrics of a finished model: ``measure(model, data, split, seed, report) -> dict``; a function of a module.
        notes: sentences for the evidence, such as what was scaled down from the paper.
        earlier: earlier versions of this case whose figures were seen, a sentence each with what they showed.
    """

    key: str
    data: str
    arms: Mapping[str, Arm | tuple[str, Mapping[str, Any]]]
    claims: tuple[Claim, ...]
    baseline: str
    budget: Mapping[str, float]
    data_options: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 5
    trials: int = 0
    tune_by: str | None = None
    tuning_seeds: int = 1
    kind: str | None = None
    model: str | None = None
    reply_tokens: int | None = None
    metrics: tuple[str, ...] = ()
    measure: Callable[..., dict[str, float]] | None = None
    notes: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()

    def arm(self, name: str) -> Arm:
        """Return an arm in its long form."""
        given = self.arms[name]
        return given if isinstance(given, Arm) else Arm(method=given[0], settings=given[1])
