"""Finished runs on disk: whose folder it is, what its result is. Reading loads no torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError, require_utf8
from counterpoint.study.files import disk, read_json, read_object, read_sealed, shaped, write_sealed
from counterpoint.study.recipe import Recipe, differences
from counterpoint.study.sources import FORM

RUN, RESULT, STUDY, EVENTS = "run.json", "result.json", "study.json", "events.jsonl"
ENDED = "ended.json"
"""In the folder of checkpoints that were kept: what the run spent, and why it cannot be given more, if so."""
REPORTED = "training"
"""Folder of a run in which what training reported of itself stands."""


@dataclass(frozen=True)
class Result:
    """A finished run's result.

    Attributes:
        folder: where it lies; ``folder / "model"`` is the model, when it was kept.
        metrics: split -> metric -> figure (``nan`` where it could not be computed).
        before: the same for the model as it was before training, when that was asked for.
        cost: seconds, bytes and sessions; see ``study.cost``.
        data: spec, fingerprint and description.
        environment: versions and machine.
        spent: steps, examples, tokens.
        measured: metric -> what stands between the model and its figure, such as "probe"; a figure ``before`` that was measured
            otherwise has a name of its own, such as ``probe_accuracy``.
    """

    folder: Path
    key: str
    seed: int
    settings: Mapping[str, Any]
    changed: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float]]
    before: Mapping[str, Mapping[str, float]]
    cost: Mapping[str, Any]
    data: Mapping[str, Any]
    environment: Mapping[str, Any]
    spent: Mapping[str, float]
    primary: str
    model: str
    measured: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Result:
        """Read ``result.json`` of a run's folder.

        Raises:
            CounterpointError: the run is unfinished, or the folder is none of a run.
        """
        if not (folder / RESULT).exists():
            if (folder / RUN).exists():
                raise CounterpointError(
                    f"the run in {folder} is not finished; counterpoint resume {folder} goes on with it"
                )
            raise CounterpointError(f"{folder} holds no run; give the --out folder of counterpoint run")
        stored = read_sealed(folder / RESULT, "metrics", "key")
        names = cls.__dataclass_fields__
        fields = {name: value for name, value in stored.items() if name in names}
        with shaped(folder / RESULT):
            for name in ("metrics", "before"):
                fields[name] = {split: numbers(figures) for split, figures in fields.get(name, {}).items()}
            return cls(**{**fields, "folder": folder})

    def write(self) -> None:
        """Write ``result.json``; from then on the run is finished."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "folder"}
        path = self.folder / EVENTS
        if path.exists():
            values["events_sha256"] = _checksum(path)
        write_sealed(self.folder / RESULT, values)

    def figure(self, metric: str, split: str) -> float:
        """One figure, or an error that names the metrics there are."""
        figures = self.metrics.get(split, {})
        if metric not in figures:
            raise CounterpointError(
                f"{self.folder} has no figure '{metric}' on {split}; it has {', '.join(figures)}"
            )
        return figures[metric]


def numbers(figures: Mapping[str, float | None]) -> dict[str, float]:
    """Figures as JSON kept them: null is a figure that could not be computed."""
    return {name: float("nan") if value is None else float(value) for name, value in figures.items()}


def claim(out: Path, recipe: Recipe, fingerprint: str) -> bool:
    """Make a run's folder this recipe's, or see that it already is. Returns whether it is fresh.

    Raises:
        CounterpointError: the folder belongs to another run, or holds something else.
    """
    require_utf8(out, "--out")
    identity = recipe.identity(fingerprint)
    if (out / RUN).exists():
        there = read_sealed(out / RUN, "identity", "recipe")["identity"]
        if not isinstance(there, dict):
            raise CounterpointError(
                f"{out / RUN} is damaged: its identity is no object; choose another --out"
            )
        if "form" in there:
            identity = recipe.identity(fingerprint, form=_form(there))
        else:  # begun before identities rested on content
            identity = recipe.identity_by_path(fingerprint)
            if _same_path(str(there.get("model")), recipe.model):
                there = {**there, "model": recipe.model}
        changes = differences(identity, there)
        if any(line.startswith("model: ") and line.count("sha256:") == 2 for line in changes):
            raise CounterpointError(
                f"{out}: the starting model {recipe.model} is not the one this run began with (its files have other content); "
                "put that one back, or choose another --out"
            )
        if changes and (out / RESULT).exists() and all(line.startswith("budget.") for line in changes):
            raise CounterpointError(
                f"the run in {out} is finished ({'; '.join(changes)}), its schedule at its end; to train on from its model: "
                f"--model {out / 'model'} --out NEW, with the steps to add (a run with --keep-checkpoints can be given more in place)"
            )
        if changes:
            more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
            raise CounterpointError(
                f"{out} holds another run ({'; '.join(changes[:3])}{more}); choose another --out, or go on with that one: "
                f"counterpoint resume {out}"
            )
        return False
    if (out / STUDY).exists():
        raise CounterpointError(
            f"{out} holds a comparison; choose another --out, or go on with it: counterpoint resume {out}"
        )
    if out.exists() and not out.is_dir():
        raise CounterpointError(f"{out} is a file; --out must be a folder")
    if out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise CounterpointError(
            f"{out} exists and holds something that is no run; choose an empty or new --out"
        )
    with disk(out):
        made = [path for path in (out, *out.parents) if not path.exists()]
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_sealed(out / RUN, {"identity": identity, "recipe": recipe.as_dict()})
        except BaseException:
            remove_empty(made)
            raise
    return True


def grow(out: Path, recipe: Recipe, fingerprint: str) -> bool:
    """Make a finished run, whose checkpoints were kept, one of a larger budget. Returns whether it was made so.

    Its result is kept as ``result-STEPS.json``. Everything else that differs is left to ``claim``.

    Raises:
        CounterpointError: a run that cannot be given more, or a budget that is spent already.
    """
    file = out / "checkpoints" / ENDED
    if not (out / RUN).exists() or not file.exists() or not recipe.budget:
        return False
    stored = read_sealed(out / RUN, "identity", "recipe")
    identity = recipe.identity(fingerprint, form=_form(stored["identity"]))
    changes = differences(identity, stored["identity"])
    if not changes or not all(line.startswith("budget.") for line in changes):
        return False
    ended = read_object(file, "spent")
    spent = numbers(ended["spent"])
    if ended.get("closed"):
        raise CounterpointError(
            f"the run in {out} is finished and cannot be given more: {ended['closed']}; to train on from its model: "
            f"--model {out / 'model'} --out NEW, with the steps to add"
        )
    for name, limit in recipe.budget.items():
        if limit <= spent.get(name, 0):
            raise CounterpointError(
                f"{name}={limit:g}, and the run in {out} has made {spent[name]:g} already; give a larger number, or another --out"
            )
    if (out / RESULT).exists():
        (out / RESULT).rename(out / f"result-{spent['steps']:g}.json")
    write_sealed(out / RUN, {"identity": identity, "recipe": recipe.as_dict()})
    return True


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _form(identity: Mapping[str, Any]) -> int:
    """The form in which a folder's identity is written, as far as it is one that is known."""
    form = identity.get("form")
    return form if isinstance(form, int) and 1 < form < FORM else FORM


def _same_path(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def remove_empty(folders: list[Path]) -> None:
    """Remove folders that are empty, innermost first."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def discard_if_nothing_saved(out: Path) -> None:
    """Remove the folder of a run that failed before it saved anything worth keeping."""
    saved = [*(out / "checkpoints").glob("step-*"), *(out / "stages").glob("*")]
    if not saved and not (out / "model").exists() and (out / RUN).exists():
        shutil.rmtree(out, ignore_errors=True)


def discard_study_if_nothing_saved(out: Path) -> None:
    """Remove the folder of a study whose first runs failed before they saved anything, so that a mended one can be started there."""
    patterns = ("result.json", "checkpoints/step-*", "stages/*")
    runs = (*out.glob("runs/*/*"), *out.glob("tuning/*/*"))
    if any(next(run.glob(pattern), None) for run in runs for pattern in patterns):
        return
    for folder in ("runs", "tuning"):
        shutil.rmtree(out / folder, ignore_errors=True)
    (out / STUDY).unlink(missing_ok=True)
    if not any(out.iterdir()):
        out.rmdir()


def stored_recipe(out: Path) -> Recipe:
    """The recipe a run's folder was claimed with."""
    with shaped(out / RUN):
        return Recipe.from_dict(read_sealed(out / RUN, "identity", "recipe")["recipe"])


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a single run."""
    return (folder / RUN).exists()


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a comparison, an ablation or a reproduction."""
    return (folder / STUDY).exists()


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of a run, in order; a torn last line is passed over."""
    path = folder / EVENTS
    if not path.exists():
        return
    sealed = read_json(folder / RESULT) if (folder / RESULT).exists() else {}
    digest = sealed.get("events_sha256") if isinstance(sealed, dict) else None
    if digest is not None and digest != _checksum(path):
        raise CounterpointError(f"{path} was altered since the run was finished; put it back, or run again")
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                return
            if isinstance(event, dict):
                yield event
