"""Copies a model out of a run or a study, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from counterpoint.errors import CounterpointError, nearest
from counterpoint.study.files import disk, read_sealed
from counterpoint.study.store import Result, is_run, is_study


def export_model(out: Path, to: Path, *, arm: str | None = None, seed: int = 0) -> Path:
    """Copy a model folder to a new place and return where it came from.

    Args:
        out: a run's or a study's folder. to: must not exist, or be empty.
        arm, seed: of a study; the best arm by default.

    Raises:
        CounterpointError: nothing is finished there, the model was not kept, or ``to`` holds something.
    """
    source = _source(out, arm, seed)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise CounterpointError(f"{to} exists and is not empty; choose a new folder")
    aside = to.parent / f".exporting-{to.name}-{os.getpid()}"
    with disk(to):
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, aside)
            if to.exists():
                to.rmdir()
            os.replace(aside, to)
        except shutil.Error as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise CounterpointError(f"{to} could not be written: {error.args[0][0][2]}") from None
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return source


def _source(out: Path, arm: str | None, seed: int) -> Path:
    if is_study(out):
        if not (out / "summary.json").exists():
            raise CounterpointError(
                f"the study in {out} is not finished; counterpoint resume {out} goes on with it"
            )
        summary = read_sealed(out / "summary.json", "ranked", "arms")
        name = arm or summary["ranked"][0]
        if name not in summary["arms"]:
            raise CounterpointError(f"{out} has no arm '{name}'; {nearest(name, summary['arms'])}")
        folder = out / "runs" / name / f"seed-{seed}"
        if not (folder / "model").exists():
            saved = [str(p.parent.relative_to(out)) for p in sorted(out.glob("runs/*/seed-*/model"))]
            raise CounterpointError(
                f"the model of {name}, seed {seed}, was not kept (see compare --keep); kept: {json.dumps(saved)}"
            )
        return folder / "model"
    if is_run(out):
        model = Result.read(out).folder / "model"
        if not model.exists():
            raise CounterpointError(f"{out} kept no model; run it again without --keep none")
        return model
    raise CounterpointError(f"{out} holds neither a run nor a study; give the --out folder of one")
