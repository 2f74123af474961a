"""What a study is going to run: arms, seeds, tuning; plain data, so that a folder can be resumed without its command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError, nearest, require_utf8
from counterpoint.study import sources
from counterpoint.study.case import Range
from counterpoint.study.evidence.splits import options_of, require_nested
from counterpoint.study.files import read_sealed, shaped, write_sealed
from counterpoint.study.recipe import Recipe, differences, plain
from counterpoint.study.store import STUDY, is_run
from counterpoint.study.tune import require_trials
from counterpoint.tasks.task import bundled

TUNING_SEED = 1000
"""Seed of tuning runs; the seeds of the final comparison are counted from 0 and never reach it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One arm of a study.

    Attributes:
        name: unique in the study, and a folder name.
        recipe: the arm's run; its seed is replaced by each of the study's.
        tune: ranges to search on validation; empty means the arm runs as it is.
        title: one line for tables. baseline: whether others are to be measured against it.
    """

    name: str
    recipe: Recipe
    tune: Mapping[str, Range] = field(default_factory=dict)
    title: str = ""
    baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study: every entry with every seed, after the same number of tuning trials each.

    Attributes:
        what: "compare", "ablate", "reproduce", or "tune": a search over one method's settings.
        seeds: how many, counted from 0. trials: tuning trials for each arm that has something to tune.
        tune_by: the metric that tuning goes by; None means the task's primary one.
        tuning_seeds: seeds a trial is averaged over, counted from ``TUNING_SEED``.
        baseline: the arm differences are taken against; None means the best one.
        metrics: shown first in tables; empty means all. needs: arm -> metrics it must be measured by. keep: whose models stay: "all", "first" (seed 0) or "none".
        points: configurations that are tried in place of a search over the entries' ranges.
        refused: what an ablation cannot run, by name: the reason.
    """

    what: str
    entries: Sequence[Entry]
    seeds: int = 5
    trials: int = 0
    tune_by: str | None = None
    tuning_seeds: int = 1
    baseline: str | None = None
    metrics: tuple[str, ...] = ()
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    keep: str = "first"
    title: str = ""
    points: Sequence[Mapping[str, Any]] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        for name in names:
            if not name or name.startswith(".") or any(letter in name for letter in "/\\\0"):
                raise CounterpointError(
                    f"arm '{name}': a name is a folder's, so it has no slash and no dot in front"
                )
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise CounterpointError(
                f"'{min(twice)}' is given twice; name each method once, or vary a setting"
            )
        if not names:
            raise CounterpointError("nothing to run; name at least one method")
        if not 1 <= self.seeds <= TUNING_SEED:
            raise CounterpointError(f"seeds={self.seeds}; give 1 to {TUNING_SEED}, 5 is usual")
        if self.trials < 0:
            raise CounterpointError(f"trials={self.trials}; give 0 (no tuning) or more")
        if self.tuning_seeds < 1:
            raise CounterpointError(f"tuning_seeds={self.tuning_seeds}; give 1 or more")
        if self.baseline is not None and self.baseline not in names:
            raise CounterpointError(
                f"baseline '{self.baseline}' is not in the study; {nearest(self.baseline, names)}"
            )
        if self.keep not in ("all", "first", "none"):
            raise CounterpointError(f"keep='{self.keep}'; expected 'all', 'first' or 'none'")

    @property
    def against(self) -> str | None:
        """The baseline: the one given, or the only entry that is one by its nature; None means the best."""
        natural = [entry.name for entry in self.entries if entry.baseline]
        return self.baseline or (natural[0] if len(natural) == 1 and len(self.entries) > 1 else None)

    def as_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        stored = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "entries"}
        entries = [
            {
                **{n: getattr(e, n) for n in ("name", "title", "baseline")},
                "tune": _ranges(e.tune),
                "recipe": e.recipe.as_dict(),
            }
            for e in self.entries
        ]
        return plain({**stored, "entries": entries})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Plan:
        """From ``as_dict``."""
        entries = [
            Entry(
                **{
                    **entry,
                    "recipe": Recipe.from_dict(entry["recipe"]),
                    "tune": {name: _range(given) for name, given in entry["tune"].items()},
                }
            )
            for entry in stored["entries"]
        ]
        lists = {name: tuple(stored.get(name, ())) for name in ("metrics", "points")}
        return cls(**{**stored, "entries": entries, **lists})

    def identity(self, form: int = sources.FORM) -> dict[str, Any]:
        """What must stay the same in one folder. More seeds, more arms or another baseline may be asked for later."""
        arms = {}
        for entry in self.entries:
            recipe = entry.recipe.as_dict()
            names = (
                "key",
                "settings",
                "data",
                "data_options",
                "model",
                "model_given",
                "budget",
                "precision",
                "measure",
            )
            own = {name: recipe[name] for name in names}
            if form > 1:
                own = sources.content(own, form)
                if sources.data_path(entry.recipe.data, bundled(entry.recipe.kind)):
                    own["data"] = "path"  # every run of the study compares its content
            arms[entry.name] = own | {"tune": plain(_ranges(entry.tune))}
        tuning: dict[str, Any] = {"tune_by": self.tune_by} if self.tune_by is not None else {}
        tuning |= {"tuning_seeds": self.tuning_seeds} if self.tuning_seeds != 1 else {}
        tuning |= {"points": plain(list(self.points))} if self.points else {}
        named = {"form": form} if form > 1 else {}
        return {**named, "what": self.what, "trials": self.trials, **tuning, "arms": arms}


def claim_study(out: Path, plan: Plan) -> None:
    """Make a folder this plan's, or see that what is there belongs to the same study.

    Raises:
        CounterpointError: it holds another study, a single run or something else.
    """
    require_utf8(out, "--out")
    if is_run(out):
        raise CounterpointError(f"{out} holds a single run; choose another --out")
    if (out / STUDY).exists():
        there = read_sealed(out / STUDY, "identity", "plan")["identity"]
        here = plan.identity(there.get("form", 1))
        changes = differences({**here, "arms": {}}, {**there, "arms": {}})
        for name in set(there["arms"]) & set(here["arms"]):
            changes += differences(here["arms"][name], there["arms"][name], f"{name}.")
        if changes:
            raise CounterpointError(
                f"{out} holds another study ({'; '.join(changes[:3])}); choose another --out, or go on with that one: "
                f"counterpoint resume {out}"
            )
    elif out.exists() and (not out.is_dir() or any(not p.name.startswith(".") for p in out.iterdir())):
        raise CounterpointError(
            f"{out} exists and holds something that is no study; choose an empty or new --out"
        )
    write_sealed(out / STUDY, {"identity": plan.identity(), "plan": plan.as_dict()})


def stored_plan(out: Path) -> Plan:
    """The plan a study's folder was claimed with."""
    with shaped(out / STUDY):
        return Plan.from_dict(read_sealed(out / STUDY, "identity", "plan")["plan"])


def seeded(
    recipe: Recipe, seed: int, settings: Mapping[str, Any] | None = None, *, tuning_seeds: int = 1
) -> Recipe:
    """The same recipe with another seed, data options that hang on seeds worked out, and some settings replaced."""
    seeds = tuple(range(TUNING_SEED, TUNING_SEED + tuning_seeds))
    return replace(
        recipe,
        seed=seed,
        data_options=options_of(recipe.data_options, seed, seeds),
        settings={**recipe.settings, **plain(settings or {})},
    )


def require_equal_tuning(plan: Plan) -> None:
    """See that every tuned arm can try as many configurations, and is never tested on what tuning validated on.

    Raises:
        CounterpointError: the arm that cannot.
    """
    for entry in plan.entries if plan.trials else ():
        if entry.tune:
            if not plan.points:
                require_trials(entry.name, entry.tune, entry.recipe.settings, plan.trials)
            require_nested(entry.name, entry.recipe.data_options)


def _ranges(tune: Mapping[str, Range]) -> dict[str, Any]:
    return {
        n: {"low": r[0], "high": r[1]} if isinstance(r, tuple) else {"choices": list(r)}
        for n, r in tune.items()
    }


def _range(stored: Mapping[str, Any]) -> Range:
    return list(stored["choices"]) if "choices" in stored else (stored["low"], stored["high"])
