"""Predict with a model folder: open it as it was saved, go through the data once, in bounded memory, write the answers."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from counterpoint.errors import CounterpointError, UnusableRow, nearest
from counterpoint.generation import contrasted
from counterpoint.models import folders, model_folders, passes
from counterpoint.models.language.language import Language
from counterpoint.prediction import writers
from counterpoint.prediction.predictor import Predictor, Row, Settings
from counterpoint.prediction.sources import Given, opened
from counterpoint.training.events import Bar

if TYPE_CHECKING:
    from rich.progress import Progress

logger = logging.getLogger("counterpoint")


@dataclass(frozen=True)
class Predicted:
    """What became of data: what the model gave, how many rows it answered, how many were left out, notes, seconds."""

    what: str
    rows: int
    left_out: int
    seconds: float
    notes: tuple[str, ...]


def folder_of(model: str | Path) -> Path:
    """A model's folder: the path itself, ``model`` in a run's, a bundled name's or one on the hub.

    Raises:
        CounterpointError: nothing there, or a folder without a model.
    """
    inside = within(Path(model))
    if inside != Path(model):
        return inside
    if Path(model).is_dir():
        if not any((Path(model) / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise CounterpointError(
                f"{model} holds no model (no config.json); give a model's folder, or that of a run that has ended"
            )
        return Path(model)
    return model_folders.find(model)


def within(folder: Path) -> Path:
    """The model's folder of a run's; any other as it is."""
    inside = folder / "model"
    return inside if inside.is_dir() and not (folder / "config.json").is_file() else folder


def open_model(folder: Path, kind: str | None = None) -> nn.Module:
    """Open a folder as it was saved: classes, encoding, and of a language model the instruction and the contrast beside its weights.

    Args:
        kind: of a folder that does not say it, such as an encoder as it was downloaded.

    Raises:
        CounterpointError: no such kind of model, or a folder that is none of it.
    """
    if kind is not None:
        if kind not in folders.kinds():
            raise CounterpointError(
                f"kind={kind}: no kind of encoder has this name; {nearest(kind, folders.kinds())}; a language model needs none"
            )
        return folders.of_kind(kind).open(folder)
    model = folders.load(folder)
    if type(model) is Language and any((folder / name).exists() for name in BESIDE):
        return contrasted.load(folder)
    return model


SKIP = "--skip-unreadable, in Python skip=True"

BESIDE = ("contrast.json", "instruction.json")


def predictor_of(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """What a model's kind offers.

    Raises:
        CounterpointError: a model of no kind of this package.
    """
    for base in type(model).__mro__:
        parts = base.__module__.split(".")
        kind = (
            "language"
            if issubclass(base, Language)
            else parts[2]
            if parts[:2] == ["counterpoint", "models"]
            else ""
        )
        name = f"counterpoint.prediction.{kind}"
        if kind and importlib.util.find_spec(name) is not None:
            made: Predictor = importlib.import_module(name).predictor(model, folder, settings)
            return made
    raise CounterpointError(
        f"{folder} holds a {type(model).__name__}, which predicts nothing by itself; call it in Python: counterpoint.load({str(folder)!r})"
    )


def predictions(
    model: nn.Module,
    folder: Path,
    data: Any,
    *,
    settings: Settings,
    progress: Progress | bool | None = False,
    keep: Sequence[str] = (),
    skip: bool = False,
    count: dict[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Answers one by one, in the order of the data; see ``predict``.

    Args:
        model, folder: as of ``open_model``. data: as of ``sources.opened``.
        keep: columns of the data that stand beside the answers.
        skip: leave rows out that cannot be read, instead of refusing the data.
        count: gets ``left_out``, ``notes`` and ``what``.
    """
    count = {} if count is None else count
    learnt = model_folders.reading(folder).get("columns", ())
    predictor = predictor_of(model, folder, replace(settings, learnt=tuple(map(str, learnt))))
    count |= {"left_out": 0, "notes": predictor.notes, "what": predictor.what}
    size = settings.batch_size or predictor.size
    bar = Bar(progress)
    training = model.training
    model.eval()
    try:
        with opened(data, predictor) as source, torch.no_grad():
            done = 0
            for part in _parts(_read(source.rows, predictor, keep, skip, count), size):
                with passes.limits(size):
                    answers = predictor.answer([value for value, _ in part])
                for (_, beside), answer in zip(part, answers, strict=True):
                    yield {**beside, **answer}
                done += len(part)
                bar.show("predict", done, source.total)
    finally:
        bar.close()
        model.train(training)


def _read(
    rows: Iterator[Given], predictor: Predictor, keep: Sequence[str], skip: bool, count: dict[str, Any]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Rows as the predictor takes them, each with what stands beside its answer."""
    seen: set[Any] = set()
    for row, named in rows:
        try:
            value = predictor.read(row)
        except CounterpointError as error:
            if not skip:
                if isinstance(error, UnusableRow):
                    raise UnusableRow(f"{error}, or leave out what cannot be read: {SKIP}") from None
                raise
            if not count["left_out"]:
                logger.warning(f"left out: {error}")
            count["left_out"] += 1
            continue
        if predictor.once:
            if value in seen:
                continue
            seen.add(value)
        yield value, {**named, **_beside(row, keep)}


def _beside(row: Row, keep: Sequence[str]) -> dict[str, Any]:
    for name in keep:
        if name not in row.cells:
            raise CounterpointError(
                f"{row.where}: no column '{name}' to keep; {nearest(name, list(row.cells))}"
            )
    return {name: row.cells[name] for name in keep}


def _parts(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    part: list[Any] = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def predict(
    model: str | Path | nn.Module,
    data: Any,
    out: str | Path,
    *,
    settings: Settings | None = None,
    progress: Progress | bool | None = False,
    keep: Sequence[str] = (),
    skip: bool = False,
    device: str | None = None,
    folder: Path | None = None,
    kind: str | None = None,
) -> Predicted:
    """Predict for data and write the answers.

    Args:
        model: a model's folder, a run's, or a name; or a model, with its ``folder``.
        data: as of ``sources.opened``.
        out: a .jsonl, .csv or .parquet file, which appears whole or not at all; "-": JSON lines on standard output.
        settings, keep, skip: as of ``predictions``. device: None takes a GPU where there is one. kind: as of ``open_model``.

    Raises:
        CounterpointError: a row that cannot be used, unless ``skip``; nothing is then written.
    """
    writers.check(out)
    began = time.monotonic()
    if isinstance(model, nn.Module):
        opened_model, where = model, folder or Path()
    else:
        where = folder_of(model)
        opened_model = open_model(where, kind)
    opened_model = opened_model.to(device_of(device))
    count: dict[str, Any] = {}
    given = predictions(
        opened_model,
        where,
        data,
        settings=settings or Settings(),
        progress=progress,
        keep=keep,
        skip=skip,
        count=count,
    )
    rows = 0
    with writers.writer(out) as write:
        for part in _parts(given, 256):
            write(part)
            rows += len(part)
        if not rows:
            raise CounterpointError(f"no row of {data} could be used; the first reason is above")
    return Predicted(
        str(count["what"]), rows, int(count["left_out"]), time.monotonic() - began, tuple(count["notes"])
    )


def chosen(settings: Mapping[str, Any]) -> Settings:
    """Settings by name.

    Raises:
        CounterpointError: an unknown one, with the nearest name.
    """
    fields = [name for name in Settings.__dataclass_fields__ if name != "learnt"]
    unknown = next((name for name in settings if name not in fields), None)
    if unknown is not None:
        raise CounterpointError(f"predict has no setting '{unknown}'; {nearest(unknown, fields)}")
    return Settings(**settings)


def device_of(name: str | None) -> torch.device:
    """A device by name; None: the GPU where there is one.

    Raises:
        CounterpointError: one that is not here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).strip().splitlines()[0]
        raise CounterpointError(
            f"device={name}: {first[:120]}; expected cpu, or cuda where there is a GPU"
        ) from None
    return device


class Predict:
    """``model.predict``: predict for data with an opened model; see ``predict`` for what is given and raised."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        self.model, self.folder = model, folder

    def __call__(
        self,
        data: Any,
        out: str | Path | None = None,
        *,
        keep: Sequence[str] = (),
        skip: bool = False,
        progress: bool = False,
        **settings: Any,
    ) -> Any:
        """Answers as a list of dicts, or, with ``out``, in a file.

        Args:
            data: a path (table, folder, file), or rows: a list of dicts or of plain values.
            out: a .jsonl, .csv or .parquet file; then what became of the rows is returned (``Predicted``).
            keep: columns to stand beside the answers. skip: leave rows out that cannot be read.
            settings: fields of ``Settings``: batch_size, column, k, max_new_tokens, temperature, seed, steps, towards.
        """
        if out is None:
            return list(self.stream(data, keep=keep, skip=skip, progress=progress, settings=chosen(settings)))
        device = next((str(value.device) for value in self.model.parameters()), "cpu")
        return predict(
            self.model,
            data,
            out,
            settings=chosen(settings),
            keep=keep,
            skip=skip,
            progress=progress,
            device=device,
            folder=self.folder,
        )

    def stream(
        self,
        data: Any,
        *,
        keep: Sequence[str] = (),
        skip: bool = False,
        progress: bool = False,
        settings: Settings | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Answers one by one."""
        return predictions(
            self.model,
            self.folder,
            data,
            settings=settings or Settings(),
            keep=keep,
            skip=skip,
            progress=progress,
        )


def with_predict(model: nn.Module, folder: Path) -> nn.Module:
    """The model itself, with ``model.predict``."""
    vars(model)["predict"] = Predict(model, folder)  # a submodule of this name keeps its own
    return model
