"""Counterpoint from Python: the same runs, comparisons and reproductions as on the command line.

    import counterpoint

    result = counterpoint.run("dcl", data="digits", out="runs/dcl", steps=300, settings={"temperature": 0.2})
    summary = counterpoint.compare(["simclr", "dcl"], data="digits", out="runs/duel", seeds=5, steps=300)

Importing this package loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.cases import case, case_file, cases
from counterpoint.errors import CounterpointError
from counterpoint.methods import catalog
from counterpoint.methods.base import Method
from counterpoint.study.arms import build, entries, kind_of, recipe
from counterpoint.study.recipe import GIVEN
from counterpoint.study.recommend import Recommendation, recommend
from counterpoint.study.store import Result, is_run, is_study

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import nn

    from counterpoint.prediction.predict import Predicted
    from counterpoint.prediction.publish import Published
    from counterpoint.study.case import Case
    from counterpoint.study.executors.cluster import Ray
    from counterpoint.study.plan import Plan

__all__ = [
    "Recommendation", "ablate", "build", "case", "cases", "compare", "entries", "kind_of", "load", "predict", "push", "recipe", "recommend", "report",
    "reproduce", "reproduction", "resume", "run", "tune",
]  # fmt: skip


def run(
    method: str | Method[Any, Any],
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
    push_to_hub: str | None = None,
    **options: Any,
) -> Result:
    """Train a model on data with one method; the same call resumes, and a finished run is read back.

    Args:
        method: a catalog key, with ``settings``, or a built method.
        data: a bundled name, a path, or a data object of the method's kind.
        out: the run's folder; the model is in ``out/model`` afterwards.
        model: a name, a ``save_pretrained`` folder, or a module (it is copied); None means the kind's reference model.
        settings: the method's that differ from its defaults.
        evaluate: measure the model on the test split, before and after.
        progress: None shows a bar on a terminal, False none; or a rich ``Progress`` to show it in.
        trackers: who follows the run, such as "tensorboard".
        checkpoint_seconds: save at least this often.
        keep_checkpoints: keep the last one, so that ``resume`` can train longer.
        push_to_hub: OWNER/NAME, where the model is uploaded at the end; whether there is a login is asked at the start.
        options: the run's, see ``study.options.RunOptions``: seed, steps, precision, kind, ...

    Raises:
        CounterpointError: what was given does not fit together, or the folder holds another run.
    """
    from counterpoint.prediction import publish
    from counterpoint.study.single import execute

    if push_to_hub is not None:
        publish.checked_name(push_to_hub)
        publish.owner()
    splits = ("test",) if evaluate else ()
    mine = recipe(build(method, settings), data=data, model=model, splits=splits, before=evaluate, **options)
    result = execute(
        mine,
        Path(out),
        data=data if mine.data == GIVEN else None,
        model=model if mine.model == GIVEN else None,
        progress=progress,
        trackers=trackers,
        checkpoint_seconds=checkpoint_seconds,
        keep_checkpoints=keep_checkpoints,
    )
    if push_to_hub is not None:
        publish.after_run(result.folder, push_to_hub)
    return result


def compare(
    methods: Iterable[str | Method[Any, Any]] | Mapping[str, str | Method[Any, Any]],
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
    jobs: int | Ray = 1,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Let methods compete on the same data under the same budget; the same call resumes.

    Args:
        methods: catalog keys or built methods, or arm -> one of these.
        data: as for ``run``.
        out: the study's folder.
        model: as for ``run``.
        settings: arm -> its settings that differ from the defaults.
        seeds: paired runs of every method.
        trials: tuning trials on validation, the same number for each method.
        baseline: the arm that differences are taken against; None means the only baseline among them, or the best.
        metrics: shown first in tables, after the kind's primary one; empty means all.
        keep: whose models stay: "all", "first" (seed 0 of each) or "none".
        jobs: processes at once.
        progress: a rich ``Progress`` to show bars in.
        options: the run's, as for ``run``; seeds are the study's.

    Returns:
        The summary that is also in ``out/summary.json``; ``report(out)`` draws it.
    """
    from counterpoint.study import compare as comparing
    from counterpoint.study.plan import Plan

    plan = Plan(
        what="compare",
        entries=entries(methods, settings, data=data, model=model, **options),
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
    method: str | Method[Any, Any],
    *,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
    every: bool = False,
    seeds: int = 3,
    jobs: int | Ray = 1,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Leave out one part of a method at a time, or change one setting, and see what each is worth.

    Args:
        method: a catalog key, with ``settings``, or a built method.
        out: the study's folder.
        settings: the method's that differ from its defaults.
        vary: settings and the values to try instead of the method's parts.
        every: try every setting that has others instead.
        seeds: paired runs of every arm.
        jobs: processes at once.
        progress: a rich ``Progress`` to show bars in.
        options: data, model and the run's, as for ``run``.

    Returns:
        The summary, as ``compare`` gives it.
    """
    from counterpoint.study import ablate as ablating
    from counterpoint.study import compare as comparing

    built = build(method, settings)
    data, model = options.get("data"), options.get("model")
    plan = ablating.plan_of(recipe(built, **options), built, vary, seeds, every)
    first = plan.entries[0].recipe
    return comparing.compare(
        plan,
        Path(out),
        data=data if first.data == GIVEN else None,
        model=model if first.model == GIVEN else None,
        jobs=jobs,
        progress=progress,
    )


def tune(
    method: str | Method[Any, Any],
    *,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    vary: Mapping[str, Any] | None = None,
    trials: int = 30,
    seeds: int = 3,
    records: Sequence[str | Path] = (),
    top: int = 5,
    jobs: int | Ray = 1,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Search the settings of one method on validation, and measure the best ones on test; the same call resumes.

    Args:
        method: a catalog key, with ``settings``, or a built method.
        out: the search's folder.
        settings: the method's that stay fixed.
        vary: setting -> choices, or (low, high); None means the method's own ranges.
        trials: configurations, chosen by Optuna.
        seeds: of the best one, on test.
        records: ``out`` folders of earlier searches. With them AutoDistiller foretells what each configuration would reach here,
            and only its ``top`` are tried.
        top: how many of the foretold are tried.
        jobs: processes at once.
        progress: a rich ``Progress`` to show bars in.
        options: data, model and the run's, as for ``run``.

    Returns:
        The summary; ``record`` is what later searches learn from, ``arms[KEY]["tuning"]["importance"]`` what matters, and with
        records ``foretold`` and ``left_out`` say what was expected and how such expectations fared.
    """
    from dataclasses import asdict

    from counterpoint.study import compare as comparing
    from counterpoint.study.files import write_sealed
    from counterpoint.study.plan import TUNING_SEED, seeded
    from counterpoint.study.settings_search import begin
    from counterpoint.study.settings_search.record import read_records
    from counterpoint.tasks.task import open_data

    built = build(method, settings)
    given, model = options.get("data"), options.get("model")
    mine = recipe(built, **options)
    ranges = {
        name: each if isinstance(each, tuple) else list(each)
        for name, each in (
            vary or {n: r for n, r in built.ranges(mine.kind).items() if n not in (settings or {})}
        ).items()
    }
    more: dict[str, Any] = {}
    points: list[Mapping[str, Any]] = []
    if records:
        first = seeded(mine, TUNING_SEED)
        loaded = given if mine.data == GIVEN else open_data(mine.build_task(), mine.data, first.data_options)
        best, rows = begin.recommended(
            mine, ranges, loaded, read_records([Path(folder) for folder in records], built.key), top
        )
        points = [each.settings for each in best]
        more = {"foretold": [asdict(each) for each in best], "left_out": [asdict(row) for row in rows]}
    summary = comparing.compare(
        begin.plan_of(mine, built, ranges, trials, seeds, points),
        Path(out),
        data=given if mine.data == GIVEN else None,
        model=model if mine.model == GIVEN else None,
        jobs=jobs,
        progress=progress,
    )
    if more:
        summary = {**summary, **more}
        write_sealed(Path(out) / comparing.SUMMARY, summary)
    return summary


def reproduction(key: str) -> tuple[Case, Plan]:
    """The case of a method and the study it asks for."""
    from counterpoint.study import reproduce as reproducing

    paper_case = case(key)
    first = paper_case.arm(paper_case.baseline).method
    return paper_case, reproducing.plan_of(
        paper_case,
        build,
        catalog.row(first).kind,
        titles={key: row.title for key, row in catalog.rows().items()},
    )


def reproduce(
    key: str,
    *,
    out: str | Path,
    evidence: str | Path = "docs/evidence",
    jobs: int | Ray = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a method's reproduction case and write its evidence, ``KEY.json``; the same call resumes.

    Args:
        key: the method's catalog key.
        out: the study's folder.
        evidence: the folder of evidence files.
        jobs: processes at once.
        progress: a rich ``Progress`` to show bars in.

    Returns:
        The evidence as it was written.
    """
    from counterpoint.study import reproduce as reproducing

    paper_case, plan = reproduction(key)
    content = reproducing.reproduce(
        paper_case, plan, Path(out), source=case_file(key), jobs=jobs, progress=progress
    )
    for path in (Path(out) / "evidence.json", Path(evidence) / f"{key}.json"):
        reproducing.write_evidence(path, content)
    return content


def load(folder: str | Path, kind: str | None = None) -> nn.Module:
    """Open a model folder, such as ``runs/dcl/model`` or the run's, ``runs/dcl``: its config.json says which class opens it.

    ``model.predict(data)`` answers rows: a path, or a list of dicts or of plain values; see ``prediction.predict.Predict``.

    Args:
        folder: a model's folder, a run's, a bundled name or a name on the hub.
        kind: of a folder that does not say it, such as an encoder as it was downloaded: "text", "images", ...

    Raises:
        CounterpointError: no such folder, or one that does not say what opens it.
    """
    from counterpoint.bundled import hub
    from counterpoint.prediction.predict import open_model, with_predict, within

    where = hub.model(str(folder)) or within(Path(folder))
    return with_predict(open_model(where, kind), where)


def predict(
    model: str | Path,
    *,
    data: Any,
    out: str | Path,
    keep: Sequence[str] = (),
    skip: bool = False,
    kind: str | None = None,
    device: str | None = None,
    progress: Progress | bool | None = False,
    **settings: Any,
) -> Predicted:
    """Predict for a file, a folder or rows of any size, and write the answers; in bounded memory, whole or not at all.

    Args:
        model: a model's folder, a run's, or a name.
        data: a table, a folder, a file of the model's kind, "-" for standard input, or rows: dicts or plain values.
        out: a .jsonl, .csv or .parquet file; "-" prints JSON lines.
        keep: columns of the data to stand beside the answers.
        skip: leave rows out that cannot be read.
        kind: of a folder that does not say it.
        device: None is a GPU if there is one.
        progress: None shows a bar on a terminal, False none; or a rich ``Progress`` to show it in.
        settings: batch_size, column (of the inputs), k (items to recommend), max_new_tokens, temperature, seed, steps, towards.
    """
    from counterpoint.prediction.predict import chosen, predict

    return predict(
        model,
        data,
        out,
        settings=chosen(settings),
        progress=progress,
        keep=keep,
        skip=skip,
        device=device,
        kind=kind,
    )


def push(
    model: str | Path, name: str, *, private: bool = False, folder: str | Path | None = None
) -> Published:
    """Upload a trained model with its card to a hub; see ``prediction.publish``.

    Args:
        model: a model's folder, or a run's.
        name: OWNER/NAME.
        private: where it does not exist yet, it is made private.
        folder: write there what would be uploaded, and upload nothing.
    """
    from counterpoint.prediction.publish import publish

    return publish(model, name, private=private, folder=None if folder is None else Path(folder))


def rejudge(path: str | Path) -> list[str]:
    """Judge an evidence file's figures again by the present rules; returns the claims whose verdict changed."""
    from counterpoint.study import rejudge as rejudging
    from counterpoint.study.reproduce import check_evidence

    paper_case, plan = reproduction(check_evidence(Path(path))["key"])
    return rejudging.rejudge(
        Path(path), plan, paper_case.earlier, {claim.text: claim.unequal for claim in paper_case.claims}
    )


def resume(
    out: str | Path, *, steps: int | None = None, jobs: int | Ray = 1, progress: Progress | None = None
) -> Result | dict[str, Any]:
    """Go on with what is in a folder: a run gives its result, a study its summary.

    Args:
        out: the folder of a run or a study.
        steps: more optimiser steps than before, for a finished run whose checkpoints were kept.
        jobs: processes at once, of a study.
        progress: a rich ``Progress`` to show bars in.

    Raises:
        CounterpointError: the folder holds neither, or steps are given for a study.
    """
    folder = Path(out)
    if is_study(folder):
        from counterpoint.study import compare as comparing

        if steps is not None:
            raise CounterpointError(
                f"{folder} holds a study, whose budget is its arms' alike; steps is for a single run"
            )
        return comparing.resume(folder, jobs=jobs, progress=progress)
    if is_run(folder):
        from counterpoint.study import single

        return single.resume(folder, steps=steps, progress=progress)
    raise CounterpointError(f"{folder} holds neither a run nor a study; give the --out folder of one")


def report(*folders: str | Path, to: str | Path | None = None) -> Path:
    """Draw one self-contained HTML page from runs and studies; returns its path.

    Args:
        folders: ``--out`` folders.
        to: the page; None means ``report.html`` in the first folder.
    """
    from counterpoint.study.report.page import write_report

    return write_report([Path(folder) for folder in folders], None if to is None else Path(to))
