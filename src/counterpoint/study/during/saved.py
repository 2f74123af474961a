"""The model folder of a run, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.study.files import disk, write_json
from counterpoint.tasks.task import Task

if TYPE_CHECKING:
    from torch import nn

    from counterpoint.training.report import Report


def save_model(
    task: Task,
    model: nn.Module,
    report: Report,
    out: Path,
    form: str,
    reading: Mapping[str, Any],
    written: Path | None = None,
) -> None:
    """Write the model folder aside, with how the data were read, then publish it; a full disk leaves none.

    ``written``: the folder that the model was written to already.
    """
    from counterpoint.models.model_folders import READING
    from counterpoint.training.durable import MANIFEST, write_folder

    def save(folder: Path) -> None:
        if written is not None:
            shutil.copytree(written, folder, dirs_exist_ok=True)
        else:
            saved_as(task, form)(model, folder)
        report.write_tables(folder)
        if reading:
            write_json(folder / READING, dict(reading))

    with disk(out / "model"):
        write_folder(out / "model", save)
        (out / "model" / MANIFEST).unlink(missing_ok=True)


def saved_as(task: Task, form: str) -> Callable[[nn.Module, Path], None]:
    """What writes a model's folder in the form that was asked for."""
    options = {} if form == "merged" else {"form": form}
    return lambda model, folder: task.save_model(model, folder, **options)
