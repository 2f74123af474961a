"""A user's trajectories and answers: JSONL, JSON or Parquet rows, checked and split.

A folder holds ``trajectories.*`` (columns ``id`` and ``states``, a list of states that are lists of numbers; optional
``features``, a list of numbers, and ``split``), ``answers.*`` (``anchor``, ``positive``, ``negative``: ids; the first two are
the pair that a person found most alike) and, optionally, ``preferences.*`` (``chosen``, ``rejected``: ids).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from counterpoint.data.tables import Row, read_file
from counterpoint.data.trajectories.sets import (
    SPLITS,
    Trajectories,
    TrajectoryData,
    split_rows,
    standardised,
)
from counterpoint.data.walk import walk
from counterpoint.errors import CounterpointError, nearest

SUFFIXES = (".parquet", ".jsonl", ".json")
ANSWER_COLUMNS = ("anchor", "positive", "negative")
PREFERENCE_COLUMNS = ("chosen", "rejected")


def load_trajectory_files(
    spec: str,
    *,
    answers: str | None = None,
    preferences: str | None = None,
    waypoints: int | None = None,
    columns: str | None = None,
    train: float = 0.7,
    validation: float = 0.15,
    split_by: Literal["auto", "trajectory", "answer"] = "auto",
    seed: int = 0,
) -> TrajectoryData:
    """Read a folder, or a file of trajectories with files of answers and preferences.

    Args:
        spec: the folder or file.
        answers: file of a person's answers, where it lies elsewhere than beside the trajectories.
        preferences: file of preferred trajectories, likewise.
        waypoints: resample every trajectory to this many states (linear between the two nearest).
        columns: names of a state's numbers, separated by commas ("x,y,height"); a query session shows them.
        split_by: "trajectory" keeps a held-out trajectory out of every training answer; "answer" holds out answers, whose
            trajectories training may have seen; "auto" takes the first where all answers allow it.
        train, validation: shares of the trajectories (or answers); the rest is the test split.
        seed: of the split.

    Raises:
        CounterpointError: what is wrong, in which row, and what was expected.
    """
    paths = _files(Path(spec), answers, preferences)
    rows = read_file(paths["trajectories"])
    ids, states, features, named = _trajectories(paths["trajectories"], rows, waypoints)
    index_of = {name: number for number, name in enumerate(ids)}
    triples = _references(paths.get("answers"), ANSWER_COLUMNS, index_of)
    pairs = _references(paths.get("preferences"), PREFERENCE_COLUMNS, index_of)
    names = tuple(name.strip() for name in columns.split(",")) if columns else ()
    if names and len(names) != states.shape[-1]:
        raise CounterpointError(
            f"columns={columns!r} names {len(names)} numbers; a state has {states.shape[-1]}"
        )
    parts = named or split_rows(len(ids), train, validation, seed)
    splits, note = _divide(states, ids, features, parts, triples, pairs, split_by, (train, validation, seed))
    return TrajectoryData(
        splits["train"],
        splits["validation"],
        splits["test"],
        shape=(states.shape[1], states.shape[2]),
        columns=names,
        feature_names=tuple(f"feature {k + 1}" for k in range(features.shape[1]))
        if features is not None
        else (),
        source=str(spec),
        notes=(note,) if note else (),
    )


def _files(spec: Path, answers: str | None, preferences: str | None) -> dict[str, Path]:
    given = {"answers": answers, "preferences": preferences}
    files = {role: Path(path) for role, path in given.items() if path}
    if spec.is_dir():
        for role in ("trajectories", "answers", "preferences"):
            here = walk(spec, deep=False).named(role, SUFFIXES)
            if len(here) > 1:
                raise CounterpointError(f"{spec} holds {here[0].name} and {here[1].name}; keep one of them")
            if here:
                files.setdefault(role, here[0].path)
    else:
        files["trajectories"] = spec
    if "trajectories" not in files:
        raise CounterpointError(
            f"{spec} holds no trajectories.parquet, .jsonl or .json; expected one with columns id and states"
        )
    for path in files.values():
        if not path.is_file():
            raise CounterpointError(
                f"there is no file {path}; give a file of trajectories (columns id and states), a folder that holds "
                "trajectories.jsonl and answers.jsonl, or a bundled name: gridrobot, robot-arm, strokes"
            )
    return files


def _column(path: Path, rows: list[Row], name: str) -> list[Any]:
    for number, row in enumerate(rows, 1):
        if row.get(name) is None:
            have = sorted(key for key, value in row.items() if value is not None)
            raise CounterpointError(f"{path}, row {number}: no '{name}'; {nearest(name, have)}")
    return [row[name] for row in rows]


def _trajectories(
    path: Path, rows: list[Row], waypoints: int | None
) -> tuple[list[str], Tensor, Tensor | None, dict[str, Tensor] | None]:
    ids = [str(value) for value in _column(path, rows, "id")]
    twice = (
        next((name for name in dict.fromkeys(ids) if ids.count(name) > 1), None)
        if len(set(ids)) < len(ids)
        else None
    )
    if twice is not None:
        raise CounterpointError(f"{path}: the id '{twice}' stands there twice; ids name one trajectory each")
    states = [
        matrix_of(value, f"{path}, row {number}")
        for number, value in enumerate(_column(path, rows, "states"), 1)
    ]
    widths = {state.shape[1] for state in states}
    if len(widths) > 1:
        raise CounterpointError(
            f"{path}: states of {sorted(widths)} numbers; expected the same in every trajectory"
        )
    if waypoints is not None:
        states = [resampled(state, waypoints) for state in states]
    lengths = sorted({len(state) for state in states})
    if len(lengths) > 1:
        raise CounterpointError(
            f"{path}: trajectories of {lengths[0]} to {lengths[-1]} states; an encoder reads a fixed number: "
            f"pass --data-option waypoints={lengths[len(lengths) // 2]} to resample them all"
        )
    features = None
    if any(row.get("features") is not None for row in rows):
        given = _column(path, rows, "features")
        features = torch.cat(
            [matrix_of([value], f"{path}, row {number}") for number, value in enumerate(given, 1)]
        )
    named = None
    if any(row.get("split") is not None for row in rows):
        split = [str(value) for value in _column(path, rows, "split")]
        odd = next((value for value in split if value not in SPLITS), None)
        if odd is not None:
            raise CounterpointError(f"{path}: split '{odd}'; {nearest(odd, SPLITS)}")
        named = {
            name: torch.tensor([i for i, s in enumerate(split) if s == name], dtype=torch.long)
            for name in SPLITS
        }
        lacking = next((name for name in SPLITS if not len(named[name])), None)
        if lacking:
            raise CounterpointError(
                f"{path}: no trajectory has split '{lacking}'; name all three, or leave the column out"
            )
    return ids, torch.stack(states), features, named


def matrix_of(value: Any, where: str) -> Tensor:
    """[states, numbers] of a cell, float32; ``where`` is for messages.

    Raises:
        CounterpointError: no lists of as many finite numbers.
    """
    try:
        matrix = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError):
        matrix = torch.empty(0)
    if matrix.dim() != 2 or not matrix.numel():
        raise CounterpointError(
            f"{where}: expected a list of states, each a list of as many numbers: [[0.0, 1.0], [0.5, 1.0]]"
        )
    if not bool(torch.isfinite(matrix).all()):
        raise CounterpointError(f"{where}: a number is not finite; remove the row or mend it")
    return matrix.float()


def resampled(states: Tensor, count: int) -> Tensor:
    """``count`` states, linear between the two nearest of a trajectory's."""
    if count < 2:
        raise CounterpointError(f"waypoints={count}: a trajectory needs at least 2 states")
    at = torch.linspace(0, len(states) - 1, count)
    low = at.floor().long().clamp(max=max(len(states) - 2, 0))
    high = (low + 1).clamp(max=len(states) - 1)
    return states[low] + (at - low)[:, None] * (states[high] - states[low])


def _references(path: Path | None, columns: tuple[str, ...], index_of: dict[str, int]) -> Tensor:
    if path is None:
        return torch.empty(0, len(columns), dtype=torch.long)
    rows = read_file(path)
    values = [[str(value) for value in _column(path, rows, name)] for name in columns]
    for number, names in enumerate(zip(*values), 1):
        unknown = next((name for name in names if name not in index_of), None)
        if unknown is not None:
            raise CounterpointError(
                f"{path}, row {number}: '{unknown}' is the id of no trajectory; {nearest(unknown, list(index_of)[:200])}"
            )
        if len(set(names)) < len(names):
            raise CounterpointError(f"{path}, row {number}: names '{names[0]}' and others, one of them twice")
    return torch.tensor([[index_of[name] for name in names] for names in zip(*values)])


def _divide(
    states: Tensor,
    ids: list[str],
    features: Tensor | None,
    parts: dict[str, Tensor],
    triples: Tensor,
    pairs: Tensor,
    split_by: str,
    shares: tuple[float, float, int],
) -> tuple[dict[str, Trajectories], str]:
    """Splits with the answers that belong to them, and a sentence on how the answers were divided (if any)."""
    home = torch.empty(len(ids), dtype=torch.long)
    for number, name in enumerate(SPLITS):
        home[parts[name]] = number
    answered = [reference for reference in (triples, pairs) if len(reference)]
    mixed = sum(int((home[reference] != home[reference][:, :1]).any(1).sum()) for reference in answered)
    if mixed and split_by == "trajectory":
        raise CounterpointError(
            f"{mixed} of {sum(map(len, answered))} answers compare trajectories of different splits; pass --data-option split_by=answer, or "
            "name the splits in a column 'split' so that each answer stays within one"
        )
    flat = states.flatten(1)
    if mixed or split_by == "answer":
        train, validation, seed = shares
        divided = {
            name: split_rows(len(reference), train, validation, seed) if len(reference) else dict.fromkeys(SPLITS, torch.empty(0, dtype=torch.long))
            for name, reference in (("triples", triples), ("pairs", pairs))
        }  # fmt: skip
        everywhere = standardised(features, torch.arange(len(ids))) if features is not None else None
        note = "held out by answer: the answers compare across trajectories, so training may have seen a test answer's"
        return {
            name: Trajectories(
                flat, ids, everywhere, triples[divided["triples"][name]], pairs[divided["pairs"][name]]
            )
            for name in SPLITS
        }, note
    scaled = standardised(features, parts["train"]) if features is not None else None
    splits = {}
    for number, name in enumerate(SPLITS):
        rows = parts[name]
        local = torch.full((len(ids),), -1)
        local[rows] = torch.arange(len(rows))
        mine = [local[reference[home[reference[:, 0]] == number]] for reference in (triples, pairs)]
        splits[name] = Trajectories(
            flat[rows], [ids[int(row)] for row in rows], scaled[rows] if scaled is not None else None, *mine
        )
    return splits, "held out by trajectory" if answered else ""
