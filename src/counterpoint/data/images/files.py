"""Reads the standard containers of labelled images into one table. Knows formats; knows nothing of splits or training.

Containers: image folders (``class/image.png``, flat, with or without ``train``/``validation``/``test`` above), ``.npy``
and ``.npz`` arrays, IDX files (the MNIST format), CSV, TSV, JSON lines and parquet with a path and a label column, webdataset
shards, and Hugging Face ``datasets`` folders on disk.
"""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint import library_bars
from counterpoint.data.endings import PICTURES, UNREAD_PICTURES
from counterpoint.data.images.captions import CAPTION_COLUMNS, checked
from counterpoint.data.images.opening import Opening, StoredFile
from counterpoint.data.images.pixels import stack
from counterpoint.data.images.table import Source, Table, open_files
from counterpoint.data.tables import Rows, RowsOnDisk, cells, read_table, split_of, splits_named
from counterpoint.data.tables.converted import state_of
from counterpoint.data.tables.read import stay_on_disk
from counterpoint.data.tables.stored import is_saved
from counterpoint.data.walk import follow, shown, walk
from counterpoint.errors import CounterpointError, MissingExtra, counted

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "t10k": "test",
}  # fmt: skip
PATH_COLUMNS = ("file_name", "path", "image", "file", "filename", "image_path", "img")
LABEL_COLUMNS = ("label", "labels", "class", "target", "y", "fine_label", "category")
EXPECTED = (
    "a folder of class folders, a flat folder of images, .npy/.npz arrays, a .csv/.tsv/.jsonl/.parquet file with a path "
    "and a label column, webdataset .tar shards, or a Hugging Face datasets folder"
)

IN_MEMORY = Opening()


def read(
    path: Path,
    image: str | None = None,
    label: str | None = None,
    caption: str | None = None,
    captioned: bool = False,
    opening: Opening = IN_MEMORY,
) -> Table:
    """Read any of the containers above.

    Args:
        path: a file or a folder.
        image: name of the path column or array, when it is not one of the usual ones.
        label: name of the label column or array, likewise. caption: name of a column of captions, likewise.
        captioned: whether to read a column of captions.
        opening: how files are opened, at which size, by how many processes, and where their pixels are held.

    Raises:
        CounterpointError: nothing there, nothing recognised, a column is missing, or a caption is empty.
    """
    if not path.exists():
        raise CounterpointError(f"{path} does not exist; expected {EXPECTED}")
    caption_columns = ((caption,) if caption else CAPTION_COLUMNS) if captioned else ()
    if path.is_file():
        if path.suffix.lower() in (".npy", ".npz"):
            return _arrays(path, image, label)
        if path.suffix.lower() in TABLE_SUFFIXES:
            table = Table()
            open_files(table, _rows(table, path, image, label, caption_columns, rows=opening.rows), opening)
            return table
        if path.suffix.lower() == ".tar":
            return _shards([path], captioned, opening)
        raise CounterpointError(f"{path.name}: not a format of labelled images; expected {EXPECTED}")
    if is_saved(path):
        return _datasets(path, image, label, caption_columns, opening)
    if list(path.glob("*-images-idx3-ubyte*")):
        return _idx(path)
    arrays = [file for file in (path / "images.npz", path / "images.npy", path / "data.npz") if file.exists()]
    if arrays:
        return _arrays(arrays[0], image, label)
    shards = [file.path for file in walk(path).of([".tar"])]
    if shards:
        return _shards(shards, captioned, opening)
    metadata = walk(path).named("metadata", TABLE_SUFFIXES)
    if metadata:
        table, sources = Table(), []
        for file in metadata:
            split = split_of(file.name.parent.name)
            sources += _rows(table, file.path, image, label, caption_columns, split, opening.rows)
        open_files(table, sources, opening)
        listed = {name.replace("\\", "/").rpartition("/")[2] for name in table.names + table.skipped}
        bare = [file for file in walk(path).of(PICTURES) if file.name.name not in listed]
        if bare:
            table.notes.append(
                f"{counted(len(bare), 'image stands', 'images stand')} in no row of the metadata, such as {shown(bare[0].name)}: left out"
            )
        return table
    return _folder(path, opening)


def _shards(paths: list[Path], captioned: bool, opening: Opening) -> Table:
    from counterpoint.data.images.tar_shards import sources

    table = Table()
    open_files(table, sources(paths, captioned), opening)
    return table


def _folder(path: Path, opening: Opening) -> Table:
    files = walk(path).of(PICTURES)
    table = Table()
    if not files:
        raise CounterpointError(f"{path}: no images in this folder; expected {EXPECTED}")
    others = Counter(file.suffix or "no ending" for file in walk(path).files)
    others = Counter({end: n for end, n in others.items() if end not in (*PICTURES, *TABLE_SUFFIXES, ".npy")})
    if others:
        counts = ", ".join(f"{count} {end}" for end, count in others.most_common(5))
        phones = "; turn them into JPEG or PNG to use them" if set(others) & set(UNREAD_PICTURES) else ""
        table.notes.append(f"no images that can be read, left out: {counts}{phones}")
    parts = [file.name.parts for file in files]
    split_at_top = all(len(part) > 1 and split_of(part[0]) for part in parts)
    sources = []
    for file, part in zip(files, parts, strict=True):
        split = split_of(part[0]) if split_at_top else None
        below = part[1:] if split_at_top else part
        sources.append(Source(file.path, below[0] if len(below) > 1 else None, split, "/".join(part)))
    open_files(table, sources, opening)
    within = sorted({part[:1] for part in parts}) if split_at_top else [()]
    empty = ["/".join((*above, name)) for above in within for name in _empty(path.joinpath(*above))]
    if empty:
        table.notes.append(f"{len(empty)} folders are empty, and no classes: {cells.named(empty)}")
    nested = sum(len(part) > 2 + split_at_top for part in parts)
    if nested:
        table.notes.append(
            f"{nested} images lie deeper than class/image; the first folder's name is their class"
        )
    return table


def _empty(folder: Path) -> list[str]:
    """Names of the folders just below that hold nothing."""
    below = sorted(folder.iterdir()) if folder.is_dir() else []
    return [
        each.name
        for each in below
        if not each.name.startswith(".") and each.is_dir() and not any(each.iterdir())
    ]


def _arrays(path: Path, image: str | None, label: str | None) -> Table:
    table = Table()
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {} if path.suffix.lower() == ".npy" else dict(loaded)
    except ValueError as error:
        raise CounterpointError(
            f"{path.name}: {error}; save plain arrays: np.savez(path, images=x, labels=y)"
        ) from None
    except Exception as error:  # whatever a damaged archive makes zipfile, zlib and numpy raise
        raise CounterpointError(
            f"{path.name}: not a readable file of arrays ({type(error).__name__}: {' '.join(str(error).split())[:120]}); write it anew"
        ) from None
    if path.suffix.lower() == ".npy":
        beside = path.with_name("labels.npy")
        labels = np.load(beside, allow_pickle=False) if beside.exists() else None
        parts: list[tuple[str | None, np.ndarray, np.ndarray | None]] = [(None, loaded, labels)]
    else:
        parts = [(split, *picture) for split, *picture in _named(arrays, image, label, path.name)]  # type: ignore[misc]
    for split, pixels, labels in parts:
        pixels = stack(pixels, path.name)
        if labels is not None and len(labels) != len(pixels):
            raise CounterpointError(
                f"{path.name}: {len(pixels)} images but {len(labels)} labels; expected one label per image"
            )
        if labels is not None and labels.ndim > 1:
            if labels.shape[1:] != (1,):  # one column is as good as none, and some data sets have it
                raise CounterpointError(
                    f"{path.name}: labels of shape {list(labels.shape)}; expected one label per image (rows of zeros and a one: "
                    "labels.argmax(1))"
                )
            labels = labels[:, 0]
        for row, picture in enumerate(pixels):
            table.add(picture, None if labels is None else labels[row], split)
    return table


def _named(
    arrays: dict[str, np.ndarray], image: str | None, label: str | None, name: str
) -> Iterator[tuple[str | None, np.ndarray, np.ndarray | None]]:
    images, labels = (image, "images", "x", "data", "pixels"), (label, "labels", "y", "target")
    recognised = False
    for split, ending in [
        (None, ""),
        *((SPLIT_NAMES[s], s) for s in ("train", "validation", "valid", "val", "test")),
    ]:

        def pick(names: tuple[str | None, ...], ending: str = ending) -> np.ndarray | None:
            keys = [
                k for n in names if n for k in ((n,) if not ending else (f"{n}_{ending}", f"{ending}_{n}"))
            ]
            return next((arrays[key] for key in keys if key in arrays), None)

        pixels = pick(images)
        if pixels is not None:
            recognised = True
            yield split, pixels, pick(labels)
    if not recognised:
        raise CounterpointError(
            f"{name}: arrays {sorted(arrays)}; expected 'images' and 'labels' (or x_train, y_train, x_test, y_test): np.savez(path, images=x, labels=y)"
        )


def _idx(path: Path) -> Table:
    table = Table()
    for file in sorted(path.glob("*-images-idx3-ubyte*")):
        split = SPLIT_NAMES.get(file.name.split("-")[0])
        beside = file.with_name(file.name.replace("images-idx3", "labels-idx1"))
        opener: Any = gzip.open if file.suffix.lower() == ".gz" else open
        with opener(file, "rb") as stream:
            raw = stream.read()
        shape = np.frombuffer(raw, ">i4", count=3, offset=4)
        pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(*shape, 1)
        labels = None
        if beside.exists():
            with opener(beside, "rb") as stream:
                labels = np.frombuffer(stream.read(), np.uint8, offset=8)
        for row, picture in enumerate(pixels):
            table.add(picture, None if labels is None else labels[row], split)
    return table


def _rows(
    table: Table,
    path: Path,
    image: str | None,
    label: str | None,
    caption_columns: tuple[str, ...],
    split: str | None = None,
    rows: Rows = "memory",
) -> list[Source]:
    """The images that a table of them names; what is to be told of it goes to the notes of ``table``."""
    source_table = read_table(path, on_disk=stay_on_disk([path], rows))
    columns = sorted(source_table.names)
    at, tag = _columns(columns, image, label, path.name)
    table.notes += [*source_table.notes, *source_table.gap_notes()]
    sources = []
    named = splits_named(source_table)
    if tag is None:
        table.notes.append(
            f"{path.name}: no label column among {columns}; the images are used without labels"
        )
    caption_column = next((column for column in caption_columns if column in columns), None)
    labels = cells.whole(source_table.column(tag))[0].to_pylist() if tag else [None] * len(source_table)
    for index, row in enumerate(source_table.rows()):
        own_split = split or (named[1][index] if named else None)
        content = row.get(at)
        if content is None or content == "":
            raise CounterpointError(
                f"{source_table.where(index)}: no image in the column '{at}'; name one, or remove the row"
            )
        captions = checked(row.get(caption_column), source_table.where(index)) if caption_column else None
        if isinstance(content, dict):  # parquet as `datasets` writes it: {"bytes": ..., "path": ...}
            source: Any = follow(path.parent, str(content["path"])) if not content.get("bytes") else None
            if source is None and isinstance(source_table.data, RowsOnDisk):
                source = StoredFile(source_table.data, index, at, source_table.data.digest)
            elif source is None:
                source = io.BytesIO(content["bytes"])
            name = str(content.get("path"))
        else:
            source, name = follow(path.parent, str(content)), str(content)
        label_here = None if tag is None or row.get(tag) is None else labels[index]
        sources.append(Source(source, label_here, own_split, name, captions))
    return sources


def _columns(columns: list[str], image: str | None, label: str | None, name: str) -> tuple[str, str | None]:
    """Find the image column, and the label column if there is one; a column that was named must be there."""
    chosen = []
    for given, usual, option in ((image, PATH_COLUMNS, "image"), (label, LABEL_COLUMNS, "label")):
        wanted = (given,) if given else usual
        column = next((column for column in wanted if column in columns), None)
        if column is None and (given or option == "image"):
            raise CounterpointError(
                f"{name}: columns {columns}, none of them {' or '.join(wanted)}; name the {option} column: --data-option {option}=COLUMN"
            )
        chosen.append(column)
    return str(chosen[0]), chosen[1]


def _datasets(
    path: Path, image: str | None, label: str | None, caption_columns: tuple[str, ...], opening: Opening
) -> Table:
    try:
        from datasets import DatasetDict, Image, load_from_disk
    except ImportError:
        raise MissingExtra("datasets", "language") from None
    library_bars.hide("datasets")
    try:
        loaded = load_from_disk(str(path))
    except Exception as error:  # whatever a damaged folder makes the library raise becomes one line
        raise CounterpointError(
            f"{path}: not a readable folder of the datasets library ({type(error).__name__}: {' '.join(str(error).split())[:160]}); "
            "save it anew with save_to_disk"
        ) from None
    parts = dict(loaded) if isinstance(loaded, DatasetDict) else {"": loaded}
    table, sources = Table(), []
    arrow = sorted(path.rglob("*.arrow"))
    states = [state_of(file) for file in arrow]
    for name, rows in parts.items():
        digest = repr((states, name)) if stay_on_disk(arrow, opening.rows) else ""
        at, tag = _columns(rows.column_names, image, label, path.name)
        names = getattr(rows.features[tag], "names", None) if tag else None
        caption_column = next((column for column in caption_columns if column in rows.column_names), None)
        if isinstance(rows.features[at], Image):  # as files, so that each is opened at the size it will have
            rows = rows.cast_column(at, Image(decode=False))
        for number, row in enumerate(rows, 1):
            where = f"{path.name}, {name + ', ' if name else ''}row {number}"
            captions = checked(row[caption_column], where) if caption_column else None
            value = row[tag] if tag else None
            value = names[value] if names and isinstance(value, int) and value >= 0 else value
            cell = row[at]
            if cell is None or (isinstance(cell, dict) and not (cell.get("bytes") or cell.get("path"))):
                raise CounterpointError(
                    f"{where}: no image in the column '{at}'; name one, or remove the row"
                )
            if isinstance(cell, dict):
                file: Any = path / str(cell.get("path"))
                if cell.get("bytes"):
                    stay = StoredFile(rows, number - 1, at, digest) if digest else None
                    file = stay or io.BytesIO(cell["bytes"])
                sources.append(Source(file, value, split_of(name), where, captions))
            else:
                pixels = stack(np.asarray(cell)[None], where)[0]
                table.add(pixels, value, split_of(name), where, captions)
    if sources:
        open_files(table, sources, opening)
    return table
