"""Counterpoint from Python: the same runs, comparisons and reproductions as on the command line.

    import counterpoint

    result = counterpoint.run("dcl", data="digits", out="runs/dcl", steps=300, settings={"temperature": 0.2})
    summary = counterpoint.compare(["simclr", "dcl"], data="digits", out="runs/duel", seeds=5, steps=300)

Importing this file loads no torch.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError, nearest
from counterpoint.methods import catalog
from counterpoint.study.recipe import GIVEN, Recipe, Trainable, recipe_of
from counterpoint.study.recommend import Facts, Suggestion
from counterpoint.study.store import Result, is_run, is_study

if TYPE_CHECKING:
    from rich.progress import Progress

    from counterpoint.study.case import Case
    from counterpoint.study.plan import Entry, Plan


def build(method: str | Trainable, settings: Mapping[str, Any] | None = None) -> Trainable:
    """A method from its key and settings; a built one is returned as it is.

    Raises:
        CounterpointError: an unknown key or setting (with the nearest name), a planned method, settings given twice.
    """
    if isinstance(method, str):
        return catalog.load(method).settings(**(settings or {}))
    if settings:
        raise CounterpointError(
            f"settings={dict(settings)} beside a built {type(method).__name__}; set them on the method itself"
        )
    return method


def kind_of(method: Trainable, kind: str | None = None) -> str:
    """The kind of data a method learns from: the one given, or the catalog's."""
    return kind or catalog.row(method.key).kind


def recipe(
    method: Trainable,
    *,
    data: Any,
    model: Any = None,
    kind: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    steps: int | None = None,
    examples: int | None = None,
    tokens: int | None = None,
    seconds: float | None = None,
    precision: str = "no",
    micro_batch_size: int | None = None,
    splits: Sequence[str] = ("test",),
    before: bool = False,
) -> Recipe:
    """The recipe of one run. ``data`` and ``model`` are names or paths, or objects (then named ``GIVEN``)."""
    from counterpoint.study.task import task

    if precision not in ("no", "bf16", "fp16"):
        raise CounterpointError(f"precision='{precision}'; expected no (fp32), bf16 or fp16")
    if not 0 <= seed < 1000:
        raise CounterpointError(
            f"seed={seed}; give a whole number from 0 to 999 (larger ones are for tuning)"
        )
    kind = kind_of(method, kind)
    limits = {"steps": steps, "examples": examples, "tokens": tokens, "seconds": seconds}
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            raise CounterpointError(f"{name}={limit}; give a number above 0, or leave it out")
    digest = None
    if model is not None and not isinstance(model, str | Path):
        from counterpoint.study.single import weights_digest

        digest = weights_digest(model)
    return recipe_of(
        method,
        kind,
        data=_named(data),
        data_options=dict(data_options or {}),
        model=task(kind).default_model if model is None else _named(model),
        model_given=digest,
        seed=seed,
        budget={name: limit for name, limit in limits.items() if limit is not None},
        precision=precision,
        micro_batch_size=micro_batch_size,
        splits=tuple(splits),
        before=before,
    )


def run(
    method: str | Trainable,
    *,
    data: Any,
    out: str | Path,
    model: Any = None,
    settings: Mapping[str, Any] | None = None,
    evaluate: bool = True,
    progress: Progress | bool | None = None,
    trackers: Sequence[str] = (),
    checkpoint_seconds: float = 120.0,
    keep_checkpoints: bool = False,
    **rest: Any,
) -> Result:
    """Train a model on data with one method; the same call resumes, and a finished run is read back.

    Args:
        method: a catalog key, with ``settings``, or a built method.
        data: a bundled name, a path, or a data object of the method's kind.
        out: the run's folder; the model is in ``out/model`` afterwards.
        model: a name, a ``save_pretrained`` folder, or a module (it is copied); None means the kind's reference model.
        evaluate: measure the model on the test split, before and after.
        rest: see ``recipe``: kind, data_options, seed, steps, examples, tokens, seconds, precision, micro_batch_size.
    """
    from counterpoint.study.single import execute

    splits = ("test",) if evaluate else ()
    mine = recipe(build(method, settings), data=data, model=model, splits=splits, before=evaluate, **rest)
    return execute(
        mine,
        Path(out),
        data=data if mine.data == GIVEN else None,
        model=model if mine.model == GIVEN else None,
        progress=progress,
        trackers=trackers,
        checkpoint_seconds=checkpoint_seconds,
        keep_checkpoints=keep_checkpoints,
    )


def entries(
    methods: Iterable[str | Trainable] | Mapping[str, str | Trainable],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    **rest: Any,
) -> list[Entry]:
    """The arms of a study, one for each method.

    Args:
        methods: keys or built methods; a mapping names the arms, so that a method may come twice.
        settings: arm -> settings, for arms that are keys.
        rest: as for ``recipe``.
    """
    from counterpoint.study.plan import Entry
    from counterpoint.study.reproduce import usable

    named: Mapping[str, str | Trainable] = (
        methods
        if isinstance(methods, Mapping)
        else {(m if isinstance(m, str) else m.key): m for m in _once(methods)}
    )
    for name in settings or {}:
        if name not in named:
            raise CounterpointError(
                f"settings for '{name}', which is not in the comparison; {nearest(name, named)}"
            )
    built = {name: build(m, (settings or {}).get(name)) for name, m in named.items()}
    kinds = {kind_of(m, rest.get("kind")) for m in built.values()}
    if len(kinds) > 1:
        told = ", ".join(f"{name} learns from {kind_of(m)}" for name, m in built.items())
        raise CounterpointError(f"these cannot be compared on the same data: {told}")
    return [
        Entry(
            name=name,
            recipe=recipe(m, **rest),
            tune=usable(m.search, (settings or {}).get(name, {})),
            title=catalog.row(m.key).title if m.key in catalog.rows() else "",
            baseline=m.key in catalog.rows() and catalog.row(m.key).baseline,
        )
        for name, m in built.items()
    ]


def compare(
    methods: Iterable[str | Trainable] | Mapping[str, str | Trainable],
    *,
    data: Any,
    out: str | Path,
    model: Any = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: int = 5,
    trials: int = 0,
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    keep: str = "first",
    jobs: int = 1,
    progress: Progress | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """Let methods compete on the same data under the same budget; the same call resumes.

    Args:
        seeds: paired runs of every method. trials: tuning trials on validation, the same number for each method.
        baseline: the arm that differences are taken against; None means the only baseline among them, or the best.
        keep: whose models stay: "all", "first" (seed 0 of each) or "none". jobs: processes at once.
        rest: see ``recipe``.

    Returns:
        The summary that is also in ``out/summary.json``; ``report(out)`` draws it.
    """
    from counterpoint.study import compare as comparing
    from counterpoint.study.plan import Plan

    plan = Plan(
        what="compare",
        entries=entries(methods, settings, data=data, model=model, **rest),
        seeds=seeds,
        trials=trials,
        baseline=baseline,
        metrics=tuple(metrics),
        keep=keep,
    )
    first = plan.entries[0].recipe
    return comparing.compare(
        plan,
        Path(out),
        data=data if first.data == GIVEN else None,
        model=model if first.model == GIVEN else None,
        jobs=jobs,
        progress=progress,
    )


def ablate(
    method: str | Trainable,
    *,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 3,
    jobs: int = 1,
    progress: Progress | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """Change one setting of a method at a time and see what each is worth. ``rest``: see ``recipe``."""
    from counterpoint.study import ablate as ablating
    from counterpoint.study import compare as comparing

    built = build(method, settings)
    data, model = rest.get("data"), rest.get("model")
    plan = ablating.plan_of(recipe(built, **rest), built, vary, seeds)
    first = plan.entries[0].recipe
    return comparing.compare(
        plan,
        Path(out),
        data=data if first.data == GIVEN else None,
        model=model if first.model == GIVEN else None,
        jobs=jobs,
        progress=progress,
    )


def case(key: str) -> Case:
    """The reproduction case of a method."""
    row = catalog.row(key)
    name = "counterpoint.methods.cases." + key.replace("-", "_")
    if importlib.util.find_spec(name) is None:
        there = ", ".join(cases()) or "none yet"
        said = "is planned" if not row.ready else "has no reproduction case"
        raise CounterpointError(f"'{key}' {said}; cases there are: {there}")
    found = getattr(importlib.import_module(name), "CASE", None)
    if found is None:
        raise CounterpointError(f"{name} holds no CASE; end the file with CASE = Case(...)")
    return found


def cases() -> list[str]:
    """Keys of the methods that have a reproduction case."""
    folder = Path(__file__).parent / "methods" / "cases"
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    return [key for key in catalog.rows() if key.replace("-", "_") in files]


def reproduction(key: str) -> tuple[Case, Plan]:
    """The case of a method and the study it asks for."""
    from counterpoint.study import reproduce as reproducing

    found = case(key)
    first = found.arm(found.baseline).method
    return found, reproducing.plan_of(
        found, build, catalog.row(first).kind, titles={key: row.title for key, row in catalog.rows().items()}
    )


def reproduce(
    key: str,
    *,
    out: str | Path,
    evidence: str | Path = "docs/evidence",
    jobs: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a method's reproduction case and write ``<evidence>/<key>.json``; the same call resumes."""
    from counterpoint.study import reproduce as reproducing

    found, plan = reproduction(key)
    content = reproducing.reproduce(found, plan, Path(out), jobs=jobs, progress=progress)
    for path in (Path(out) / "evidence.json", Path(evidence) / f"{key}.json"):
        reproducing.write_evidence(path, content)
    return content


def resume(out: str | Path, *, jobs: int = 1, progress: Progress | None = None) -> Result | dict[str, Any]:
    """Go on with what is in a folder: a run gives its result, a study its summary."""
    folder = Path(out)
    if is_study(folder):
        from counterpoint.study import compare as comparing

        return comparing.resume(folder, jobs=jobs, progress=progress)
    if is_run(folder):
        from counterpoint.study import single

        return single.resume(folder, progress=progress)
    raise CounterpointError(f"{folder} holds neither a run nor a study; give the --out folder of one")


@dataclass(frozen=True)
class Recommendation:
    """What ``recommend`` found: facts of the data, methods that fit, doubts, and the command that settles it."""

    facts: Facts
    suggestions: list[Suggestion]
    cautions: list[str]
    command: str


def recommend(
    data: str, *, kind: str | None = None, data_options: Mapping[str, Any] | None = None
) -> Recommendation:
    """Suggest methods for data by its kind and size. Rules of thumb: the last word has a comparison."""
    from counterpoint.study import recognise
    from counterpoint.study import recommend as rules
    from counterpoint.study.task import open_data, task

    kind = kind or recognise.kind_of(data)
    facts = rules.facts_of(kind, open_data(task(kind), data, data_options))
    ready = [key for key, row in catalog.rows().items() if row.ready]
    found = rules.suggestions(facts, ready)
    chosen = [s for s in found if s.ready][:3]
    keys = [s.key for s in chosen]
    model = next((f"--model {s.model} " for s in chosen if s.model), "")
    command = (
        f"counterpoint compare {' '.join(keys)} --data {data} {model}--seeds 5 --trials 8 --steps 500 --out comparison"
        if len(keys) > 1
        else f"counterpoint run {keys[0] if keys else 'KEY'} --data {data} {model}--steps 500 --out run"
    )
    return Recommendation(facts, found, rules.cautions(facts), command)


def report(*folders: str | Path, to: str | Path | None = None) -> Path:
    """Draw one self-contained HTML page from runs and studies; returns its path.

    Args:
        folders: ``--out`` folders. to: the page; None means ``report.html`` in the first folder.
    """
    from counterpoint.study.report import write_report

    return write_report([Path(folder) for folder in folders], None if to is None else Path(to))


def _named(given: Any) -> str:
    return str(given) if isinstance(given, str | Path) else GIVEN


def _once(methods: Iterable[str | Trainable]) -> list[str | Trainable]:
    listed: list[str | Trainable] = [methods] if isinstance(methods, str) else list(methods)
    keys = [m if isinstance(m, str) else m.key for m in listed]
    for key in keys:
        if keys.count(key) > 1:
            raise CounterpointError(
                f"'{key}' is given twice; name the arms: compare({{'small': ..., 'large': ...}})"
            )
    return listed
