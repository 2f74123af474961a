"""Loads images with captions, and wrong captions where there are any, from tables that name images or hold them, and from shards."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from counterpoint.data.captioned.benchmarks import read_aro, read_winoground
from counterpoint.data.captioned.items import Captioned, CaptionedSet
from counterpoint.data.captioned.pictures import located
from counterpoint.data.images.captions import CAPTION_COLUMNS, FILE_COLUMNS, Captions, checked
from counterpoint.data.images.load import resized, same_size
from counterpoint.data.images.opening import ImageFile, Opening, StoredFile
from counterpoint.data.images.split import UNLABELLED, hashes, split_rows
from counterpoint.data.images.table import Source, Table, open_files
from counterpoint.data.images.tar_shards import records, split_of_shard
from counterpoint.data.nested import split_seeds
from counterpoint.data.tables import SPLITS, Rows, RowsOnDisk, read_splits
from counterpoint.data.walk import walk
from counterpoint.errors import CounterpointError, counted, data_option

IMAGE_COLUMNS = ("image", "image_path", *FILE_COLUMNS)
TEXT_COLUMNS = ("caption", "true_caption", "text", "sentence", *CAPTION_COLUMNS)
NEGATIVE_COLUMNS = (
    "negatives",
    "negative",
    "false_caption",
    "false_captions",
    "hard_negatives",
    "negative_caption",
)
FEWEST = 10


@dataclass
class _Item:
    """An image of the files with the texts of its rows."""

    file: ImageFile
    split: str | None
    captions: list[str] = field(default_factory=list)
    negatives: list[str] = field(default_factory=list)

    def add(self, captions: Captions, negatives: Captions) -> None:
        """Take over what a row says, each text once."""
        self.captions += [text for text in captions if text not in self.captions]
        self.negatives += [text for text in negatives if text not in self.negatives]


def load_captioned(
    spec: str | Path,
    *,
    size: int | None = None,
    image: str | None = None,
    caption: str | None = None,
    negatives: str | None = None,
    winoground: str | None = None,
    aro: str | None = None,
    images: str | None = None,
    limit: int | None = None,
    evaluation_limit: int | None = None,
    unreadable: str = "error",
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    untested: str = "",
    workers: int = 0,
    rows: Rows = "auto",
) -> Captioned:
    """Load rows of an image, a caption and, where there are any, captions that are nearly right, and split them.

    Rows of one image are one item with several captions. Splits named by files or a column ``split`` are kept; what is missing
    is cut from the training images, with pixel-for-pixel copies kept on one side.

    Args:
        spec: a .jsonl, .json, .csv, .tsv or .parquet file, a folder of such files, a folder of the datasets library, or webdataset
            shards: a .tar or a folder of them, whose .json members may hold caption and negatives (a .txt is a caption).
        size: side in pixels to bring every image to (shorter side resized, centre cropped); chosen where sizes differ.
        image: column of the images (names of files, or bytes), when not a usual name. caption, negatives: likewise.
        winoground: a file or folder with image_0, image_1, caption_0 and caption_1 a row, to measure on.
        aro: a file or folder with image_path, true_caption and false_caption a row, likewise; a bbox is cut out.
        images: the folder that names in all those files are below, when it is not the file's own or ``images`` beside it.
        limit: at most that many training images. evaluation_limit: of validation and of test, likewise.
        unreadable: "error", or "skip" to leave out files that cannot be opened.
        validation: share of all images cut for validation when the files name none. test: likewise.
        seed: of the split and the limits.
        untested: seeds of other splits, with commas; what they put into validation is not tested here.
        workers: processes that decode files; the pixels are the same from any number.
        rows: where pixels are held, as of ``load_images``: "memory", "disk" or "auto".

    Raises:
        CounterpointError: with what was found, what was expected and the call that works.
    """
    path = Path(spec)
    if not path.exists():
        raise CounterpointError(
            f"{spec} does not exist; expected a table with the columns image and caption, or the bundled digit-pairs"
        )
    shards = [path] if path.suffix.lower() == ".tar" else shards_of(path)
    items, notes = (
        _sharded(shards, caption, negatives)
        if shards
        else _items(path, image, caption, negatives, images, rows)
    )
    table = Table()
    sources = [Source(one.file, None, one.split, name) for name, one in items.items()]
    open_files(table, sources, Opening(size, workers, rows))
    if table.unreadable:
        message = f"{counted(len(table.unreadable), 'file is no readable image', 'files are not readable images')}: {', '.join(table.unreadable[:5])}"
        if unreadable != "skip":
            raise CounterpointError(
                f"{spec}: {message}; mend or remove them, or leave them out with {data_option('unreadable', 'skip')}"
            )
        notes.append(message + "; left out")
    if len(table) < FEWEST:
        raise CounterpointError(
            f"{spec}: {len(table)} readable images; expected at least {FEWEST} (thousands to learn anything)"
        )
    pixels = table.stored
    if pixels is None:
        pixels = torch.from_numpy(same_size(table, size, str(spec), notes)).permute(0, 3, 1, 2).contiguous()
    else:
        resized(table, size, notes)
    labels = np.full(len(pixels), UNLABELLED)
    copies = [[code] for code in hashes(pixels)]
    splits = split_rows(
        labels, copies, table.splits, validation, test, seed, str(spec), notes, split_seeds(untested)
    )
    whole = CaptionedSet(
        pixels,
        tuple(tuple(items[name].captions) for name in table.names),
        tuple(tuple(items[name].negatives) for name in table.names),
    )
    limits = {"train": limit, "validation": evaluation_limit, "test": evaluation_limit}
    parts = {name: whole.subset(_limited(each, limits[name], seed)) for name, each in splits.items()}
    shape = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
    return Captioned(
        **parts,
        winoground=None if winoground is None else read_winoground(Path(winoground), shape, images),
        aro=None if aro is None else read_aro(Path(aro), shape, images),
        name=path.name,
        notes=tuple(notes),
    )


def _items(
    path: Path, image: str | None, caption: str | None, negatives: str | None, images: str | None, rows: Rows
) -> tuple[dict[str, _Item], list[str]]:
    """The images by name, in the order of their first rows."""
    items: dict[str, _Item] = {}
    notes: list[str] = []
    for split, tables in read_splits(path, rows=rows).items():
        named = None if split == "all" else SPLITS.get(split, split)
        for table in tables:
            notes += table.notes
            at = _column(table.names, image, IMAGE_COLUMNS, "image", table.path.name)
            text_at = _column(table.names, caption, TEXT_COLUMNS, "caption", table.path.name)
            wrong_at = _optional(table.names, negatives, NEGATIVE_COLUMNS, "negatives", table.path.name)
            base = table.path if table.path.is_dir() else table.path.parent
            for index, row in enumerate(table.rows()):
                where = table.where(index)
                name, opened = located(row.get(at), base, images, where)
                file: ImageFile = opened
                if isinstance(opened, io.BytesIO) and isinstance(table.data, RowsOnDisk):
                    file = StoredFile(table.data, index, at, table.data.digest)
                item = items.setdefault(name, _Item(file, named))
                if item.split != named:
                    raise CounterpointError(
                        f"{where}: the image '{name}' stands in {item.split} and in {named}; leave it in one"
                    )
                item.add(checked(row.get(text_at), where), _several(row.get(wrong_at) if wrong_at else None))
    _apart(items, path)
    return items, notes


def shards_of(folder: Path) -> list[Path]:
    """The .tar files of a folder; none of a file."""
    return [file.path for file in walk(folder).of([".tar"])] if folder.is_dir() else []


def _sharded(
    shards: Sequence[Path], caption: str | None, negatives: str | None
) -> tuple[dict[str, _Item], list[str]]:
    """The images of webdataset shards by shard and key; their bytes are read when they are decoded."""
    items: dict[str, _Item] = {}
    for path in shards:
        split = split_of_shard(path)
        for key, picture, record in records(path):
            where = f"{path.name}, {key}"
            text_at = _column(list(record), caption, TEXT_COLUMNS, "caption", where)
            wrong_at = next(
                iter([negatives] if negatives else [n for n in NEGATIVE_COLUMNS if n in record]), None
            )
            item = items[f"{path.name}/{key}"] = _Item(picture, split)
            item.add(checked(record[text_at], where), _several(record.get(wrong_at) if wrong_at else None))
    _apart(items, shards[0].parent)
    return items, []


def _apart(items: Mapping[str, _Item], path: Path) -> None:
    """Refuse a text that is a caption and a wrong one of the same image."""
    for name, item in items.items():
        both = set(map(str.casefold, item.captions)) & set(map(str.casefold, item.negatives))
        if both:
            raise CounterpointError(
                f"{path}: '{both.pop()}' is a caption and a wrong caption of the image '{name}'; leave it in one column"
            )


def _several(cell: Any) -> Captions:
    """A cell of wrong captions: none, one, or a list."""
    given = cell if isinstance(cell, list | tuple | np.ndarray) else [cell]
    texts = (" ".join(str(text).split()) for text in given if text is not None and text == text)
    return tuple(text for text in texts if text)


def _column(names: Sequence[str], given: str | None, usual: Sequence[str], option: str, file: str) -> str:
    chosen = _optional(names, given, usual, option, file)
    if chosen is None:
        raise CounterpointError(
            f"{file}: columns {sorted(names)}, none of them {' or '.join(dict.fromkeys(usual[:3]))}; expected one row per caption with the "
            f"columns image and caption, or name the column: {data_option(option, 'COLUMN')}"
        )
    return chosen


def _optional(
    names: Sequence[str], given: str | None, usual: Sequence[str], option: str, file: str
) -> str | None:
    """The column of this name, or the first of the usual ones.

    Raises:
        CounterpointError: a column that was named and is not there.
    """
    if given is not None and given not in names:
        raise CounterpointError(
            f"{file}: no column '{given}' among {sorted(names)}; name the column: {data_option(option, 'COLUMN')}"
        )
    return given or next((name for name in usual if name in names), None)


def _limited(rows: np.ndarray, limit: int | None, seed: int) -> list[int]:
    """At most ``limit`` of the rows, drawn with the seed, in their order."""
    if limit is None or len(rows) <= limit:
        return [int(row) for row in rows]
    return sorted(int(row) for row in np.random.default_rng(seed).permutation(rows)[:limit])
