"""Interactions: which user met which item, split into training, validation and test, with what was understood on the way.

Positives only: a row is a positive, or, where ratings and a threshold are given, a row rated at least that. Users and
items are numbered by the training pairs; evaluation pairs of unknown users or items cannot be ranked, and are counted.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from counterpoint.data.interactions.arrays import Arrays
from counterpoint.data.interactions.files import Table, read_saved, read_table
from counterpoint.data.interactions.numbered import Splitting, check_parts, finished, in_memory
from counterpoint.data.interactions.pairs import Interactions, Pairs
from counterpoint.data.interactions.rows import coded
from counterpoint.data.interactions.streamed import NotStreamed, of_file, of_saved, read
from counterpoint.data.tables import Rows, stored
from counterpoint.data.tables.converted import converted
from counterpoint.data.tables.read import stay_on_disk
from counterpoint.data.walk import walk
from counterpoint.errors import CounterpointError, nearest

__all__ = ["BUNDLED", "Interactions", "Pairs", "load_interactions"]

BUNDLED = {"movielens-100k": 4.0, "movielens-1m": 4.0}  # name -> rating from which a row is a positive
SPLITS = ("ratio", "time", "last")
PARTS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


def load_interactions(
    spec: str | Path,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | None = None,
    threshold: float | None = None,
    split: str = "ratio",
    test: float = 0.2,
    validation: float = 0.1,
    split_seed: int = 0,
    core: int = 0,
    layout: str = "rows",
    delimiter: str | None = None,
    encoding: str | None = None,
    rows: Rows = "auto",
) -> Interactions:
    """Load, validate and split interactions.

    Args:
        spec: a file, a folder with ``train.*``, ``test.*`` and perhaps ``validation.*`` or with ``interactions.*``,
            or a bundled name. A column ``split`` of a single file says train, validation or test in every row.
        user, item, rating, time: column names where the usual ones do not apply.
        threshold: rows rated lower are no positives (bundled data: 4).
        split: "ratio" (random pairs), "time" (the latest pairs overall) or "last" (each user's latest pairs);
            ignored where files, or a column "split", are the split.
        test: share of all pairs held out for the test.
        validation: share of the pairs that remain, held out for choosing between models.
        split_seed: of the random split, and of the order of pairs of equal time.
        core: repeatedly drop users and items with fewer pairs than this (0: none).
        layout: "rows", or "lists" for `user item item ...` lines.
        delimiter: between the cells of text (comma, tab, semicolon, ...), where it is not found by itself.
        encoding: of text files; without it UTF-8, what a byte-order mark says, or else cp1252.
        rows: where pairs are held: in "memory", or on "disk", where a file is read a part at a time and its pairs are mapped
            from the cache; "auto" leaves them on disk from half a gigabyte on.

    Raises:
        CounterpointError: says what was given, what was expected, and the call that works.
    """
    _check_options(split, test, validation, core)
    name, spec = str(spec), Path(spec)
    if name in BUNDLED:
        from counterpoint.bundled.convert import data as bundled

        spec = Path(bundled.path(name))
        threshold = BUNDLED[name] if threshold is None else threshold
    if not spec.exists():
        raise CounterpointError(
            f"{spec}: there is no such file or folder; expected a file of `user item [rating] [time]` lines, "
            f"a folder with train.* and test.*, or one of {', '.join(BUNDLED)}"
        )
    columns = {"user": user, "item": item, "rating": rating, "time": time}
    given = {role: name for role, name in columns.items() if name}
    how = Splitting(threshold, split, test, validation, split_seed, core)
    saved = stored.is_saved(spec)
    files = {} if saved else _files(spec)
    on_disk = sorted(spec.rglob("*.arrow")) if saved else list(files.values())
    if layout == "rows" and stay_on_disk(on_disk, rows):
        try:
            named = repr((given, delimiter, encoding, how))
            return _mapped(spec, files, on_disk, given, delimiter, encoding, how, named)
        except NotStreamed:
            pass  # the reader of whole files says what there is to say
    if saved:
        tables = read_saved(spec, columns)
        files = dict.fromkeys(tables, spec)
    else:
        tables = {
            part: read_table(file, columns, layout, delimiter, encoding) for part, file in files.items()
        }
    notes = [f"{files[part].name}: {table.understood}" for part, table in tables.items()]
    tables = _by_column(tables, files)
    pairs, ratings = coded(tables)
    return finished(pairs, ratings, set(tables), how, notes, Arrays(), in_memory)


def _mapped(
    spec: Path,
    files: dict[str, Path],
    made_of: list[Path],
    given: dict[str, str],
    delimiter: str | None,
    encoding: str | None,
    how: Splitting,
    named: str,
) -> Interactions:
    """The same as from memory, with pairs that are mapped from a folder of the cache, which is made once.

    Args:
        named: the options, which name the folder.

    Raises:
        NotStreamed: the files have to be read whole.
    """

    def fill(folder: Path) -> None:
        arrays = Arrays(folder)
        try:
            if files:
                sources = {part: of_file(file, given, delimiter, encoding) for part, file in files.items()}
            else:
                sources = of_saved(spec)
            pairs, ratings, understood, present = read(sources, given, arrays)
        except CounterpointError:
            raise NotStreamed from None
        whole = files or dict.fromkeys(sources, spec)
        notes = [f"{whole[part].name}: {text}" for part, text in understood.items()]
        if "all" in sources and present != {"all"}:
            check_parts(present, whole)

        def make(split: str, count: int) -> np.ndarray:
            return np.lib.format.open_memmap(folder / f"{split}.npy", "w+", np.int64, (2, count))

        made = finished(pairs, ratings, present, how, notes, arrays, make)
        about = {"users": made.users, "items": made.items, "notes": made.notes}
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
        arrays.clear()

    folder = converted(made_of, f"interactions {named}", fill)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    # Copied when it is written to, which nobody does: a tensor cannot be made of what is read only.
    train, validation, test = (
        Pairs(*torch.from_numpy(np.load(folder / f"{split}.npy", mmap_mode="c"))) for split in PARTS
    )
    return Interactions(about["users"], about["items"], train, validation, test, about["notes"])


def _check_options(split: str, test: float, validation: float, core: int) -> None:
    if split not in SPLITS:
        raise CounterpointError(
            f"split={split!r}: expected one of {', '.join(SPLITS)}; {nearest(split, SPLITS)}"
        )
    for option, share in {"test": test, "validation": validation}.items():
        if not 0 <= share < 1:
            raise CounterpointError(
                f"{option}={share}: expected a share from 0 up to, not including, 1, such as {option}=0.1"
            )
    if core < 0:
        raise CounterpointError(f"core={core}: expected 0 (keep everybody) or a number of pairs such as 5")


def _files(spec: Path) -> dict[str, Path]:
    if spec.is_file():
        return {"all": spec}
    files = walk(spec, deep=False).files
    whole = [file for file in files if file.name.stem.lower() in {"interactions", "ratings"}]
    if len(whole) == 1:
        return {"all": whole[0].path}
    chosen: dict[str, Path] = {}
    for part, names in PARTS.items():
        matches = [file for file in files if file.name.stem.lower() in names]
        if len(matches) > 1:
            raise CounterpointError(
                f"{spec}: {', '.join(str(file.name) for file in matches)} all name the {part} split; keep one"
            )
        if matches:
            chosen[part] = matches[0].path
    for part in ("train", "test"):
        if part not in chosen:
            there = ", ".join([str(file.name) for file in files][:8]) or "nothing"
            raise CounterpointError(
                f"{spec}: no {part}.* in this folder (found {there}); expected train.* and test.*, or one interactions.* to be split"
            )
    return chosen


def _by_column(tables: dict[str, Table], files: dict[str, Path]) -> dict[str, Table]:
    """A single table divided as its column ``split`` says; others as they are.

    Raises:
        CounterpointError: it names no training rows, or no test rows.
    """
    splits = tables["all"].splits if "all" in tables else None
    if splits is None:
        return tables
    check_parts(set(splits.tolist()), files)
    return {part: tables["all"].take(splits == part) for part in PARTS if part in splits}
