"""``counterpoint compare``, ``ablate`` and ``reproduce``: many runs, one finding."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from counterpoint.cli import options
from counterpoint.cli.output import emit
from counterpoint.cli.shell import command, console, progress


@command
@options.spread(without=("seed",))  # a study has seeds
def compare(
    methods: Annotated[
        list[str],
        typer.Argument(metavar="METHOD...", help="keys; ARM:KEY names an arm to run a method twice"),
    ],
    data: options.Data = None,
    model: options.Model = None,
    out: options.Out = None,
    seeds: Annotated[int, typer.Option(help="paired runs of every method")] = 5,
    trials: Annotated[int, typer.Option(help="tuning trials on validation, as many for each method")] = 0,
    baseline: Annotated[
        str | None, typer.Option(help="differences are taken against it", show_default=False)
    ] = None,
    given: options.Given = options.NONE,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="[ARM.]NAME=VALUE", help="a setting, of one arm or of all that have it"
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="metrics to show after the main one; may be repeated")
    ] = None,
    keep: Annotated[str, typer.Option(help="whose models stay: all, first (seed 0) or none")] = "first",
    jobs: options.Jobs = 1,
    executor: options.Executor = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = 0.0,
    as_json: options.AsJson = False,
) -> None:
    """Let methods compete: same data, same budget, same seeds, as many tuning trials each. The same command resumes."""
    from counterpoint import api
    from counterpoint.cli.tables import study_table

    example = f"counterpoint compare {' '.join(methods)} --data DATA --out OUT --steps 300"
    options.required(data, "--data", example)
    folder = options.required(out, "--out", example)
    named = _arms(methods)
    with progress() as shown:
        summary = api.compare(
            named,
            data=data,
            model=model,
            out=folder,
            settings=arm_settings(named, options.pairs(settings, "--set")),
            seeds=seeds,
            trials=trials,
            baseline=baseline,
            metrics=tuple(metric or ()),
            keep=keep,
            jobs=options.placed(jobs, executor, address, gpus_per_run),
            progress=shown,
            **given,
        )
    if as_json:
        emit(summary)
        return
    study_table(console(), summary, folder, metric or ())


@command
@options.spread(without=("seed",))  # a study has seeds
def ablate(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="the method, see counterpoint list")],
    data: options.Data = None,
    model: options.Model = None,
    out: options.Out = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V1,V2", help="a setting and the values to try; may be repeated"),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--every-setting", help="try every setting that has others, not the method's parts"),
    ] = False,
    seeds: Annotated[int, typer.Option(help="paired runs of every variation")] = 3,
    given: options.Given = options.NONE,
    settings: options.Set = None,
    jobs: options.Jobs = 1,
    executor: options.Executor = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = 0.0,
    as_json: options.AsJson = False,
) -> None:
    """Leave out one part of a method at a time, or change one setting, and see what each is worth."""
    from counterpoint import api
    from counterpoint.cli.tables import study_table
    from counterpoint.methods.catalog import load

    cls = load(key)
    chosen, varied = options.of_context(context, cls, settings, vary)
    example = f"counterpoint ablate {key} --data DATA --out OUT --steps 300"
    options.required(data, "--data", example)
    folder = options.required(out, "--out", example)
    with progress() as shown:
        summary = api.ablate(
            api.build(key, chosen),
            out=folder,
            vary=varied or None,
            every=every,
            seeds=seeds,
            jobs=options.placed(jobs, executor, address, gpus_per_run),
            progress=shown,
            data=data,
            model=model,
            **given,
        )
    if as_json:
        emit(summary)
        return
    study_table(console(), summary, folder)


@command
def reproduce(
    key: Annotated[
        str | None, typer.Argument(help="the method; without one, the cases there are", show_default=False)
    ] = None,
    out: options.Out = None,
    evidence: Annotated[Path, typer.Option(help="folder that gets KEY.json")] = Path("docs/evidence"),
    check: Annotated[
        bool, typer.Option("--check", help="only see that the evidence is as it was written")
    ] = False,
    rejudge: Annotated[
        bool,
        typer.Option("--rejudge", help="judge stored figures again by the present rules; runs nothing"),
    ] = False,
    jobs: options.Jobs = 1,
    executor: options.Executor = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = 0.0,
    as_json: options.AsJson = False,
) -> None:
    """Run a paper's effect against the paper's baseline on small real data, and write the evidence. Resumes, too."""
    from counterpoint import api
    from counterpoint.cli.tables import study_table
    from counterpoint.study.reproduce import check_evidence

    files = [evidence / f"{key}.json"] if key else sorted(evidence.glob("*.json"))
    if check:
        written = {str(path): check_evidence(path)["finished"] for path in files}
        if as_json:
            emit(written)
            return
        for path, when in written.items():
            typer.echo(f"{path}: as written on {when}")
        return
    if rejudge:
        changes = {str(path): api.rejudge(path) for path in files}
        if as_json:
            emit(changes)
            return
        for path, changed in changes.items():
            typer.echo(f"{path}: {len(changed)} verdicts changed")
            for line in changed:
                typer.echo(f"  {line}")
        return
    if key is None:
        cases = [api.case(name) for name in api.cases()]
        if as_json:
            emit([
                {"key": one.key, "arms": list(one.arms), "data": one.data, "seeds": one.seeds} for one in cases
            ])  # fmt: skip
            return
        for one in cases:
            typer.echo(f"{one.key}: {', '.join(one.arms)} on {one.data}, {one.seeds} seeds")
        return
    folder = out or Path("reproductions") / key
    with progress() as shown:
        content = api.reproduce(
            key,
            out=folder,
            evidence=evidence,
            jobs=options.placed(jobs, executor, address, gpus_per_run),
            progress=shown,
        )
    from counterpoint.study.files import read_sealed
    from counterpoint.study.pages import outcome

    if as_json:
        emit(content)
        return
    screen = console()
    study_table(screen, read_sealed(folder / "summary.json"), folder)
    screen.print()
    for claim in content["claims"]:
        state = outcome(claim)
        style = {"shown": "green", "opposite": "red"}.get(state, "yellow")
        screen.print(
            f"[{style}]{'the opposite is shown' if state == 'opposite' else claim['verdict']}[/]: ", end=""
        )
        screen.print(claim["text"], markup=False)
    screen.print(f"evidence: {evidence / (key + '.json')}", soft_wrap=True)


def _arms(methods: list[str]) -> dict[str, str]:
    """``["dcl", "small:dcl"]`` -> ``{"dcl": "dcl", "small": "dcl"}``."""
    from counterpoint.errors import CounterpointError

    named: dict[str, str] = {}
    for text in methods:
        name, colon, key = text.partition(":")
        if name in named:
            raise CounterpointError(
                f"'{name}' is given twice; name the arms, as in small:{key or name} large:{key or name}"
            )
        named[name] = key if colon else name
    return named


def arm_settings(named: dict[str, str], given: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Settings of each arm: ``arm.name=value`` for one arm, ``name=value`` for every arm that has the setting.

    A name may be that of a group's setting, ``contrast.temperature``; an arm of the group's name goes before it.
    """
    from counterpoint.errors import CounterpointError, nearest
    from counterpoint.methods.catalog import load
    from counterpoint.methods.groups import groups_of, settings_of

    classes = {arm: load(key) for arm, key in named.items()}
    result: dict[str, dict[str, Any]] = {arm: {} for arm in named}
    for name, text in given.items():
        arm, dot, setting = name.partition(".")
        groups = {group for cls in classes.values() for group in groups_of(cls)}
        arm = next((a for a in named if a.replace("-", "_") == arm), arm)
        if dot and (arm in named or arm not in groups):
            if arm not in named:
                raise CounterpointError(f"--set {name}: '{arm}' is no arm; {nearest(arm, named)}")
            result[arm] |= options.typed(classes[arm], {setting: text})
            continue
        owners = [a for a, cls in classes.items() if name in {*settings_of(cls), *groups_of(cls)}]
        if not owners:
            every = {setting for cls in classes.values() for setting in settings_of(cls)}
            raise CounterpointError(f"none of these methods has a setting '{name}'; {nearest(name, every)}")
        for owner in owners:
            result[owner] |= options.typed(classes[owner], {name: text})
    return result
