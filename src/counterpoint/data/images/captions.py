"""Captions of images: columns of text beside their paths, or a file of its own that names images. Knows no encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from counterpoint.data.tables import read_table
from counterpoint.errors import CounterpointError, counted, data_option, nearest

Captions = tuple[str, ...]
"""What is said of one image: one caption or several."""

FILES = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.parquet")
FILE_COLUMNS = ("file", "file_name", "filename", "path", "image", "image_path", "img")
CAPTION_COLUMNS = ("caption", "captions")
LEAVE_OUT = "none"


def beside(folder: Path, given: str | None) -> Path | None:
    """The file of captions: the one given, else ``captions.csv`` (or .tsv, .jsonl, .parquet) among the images; None when none.

    Raises:
        CounterpointError: what is given is no such file; two files among the images.
    """
    if given == LEAVE_OUT:
        return None
    if given is not None:
        if not Path(given).is_file():
            raise CounterpointError(
                f"captions={given}: no such file; expected a .csv, .tsv, .jsonl or .parquet file with the columns file and caption"
            )
        return Path(given)
    files = [folder / name for name in FILES if folder.is_dir() and (folder / name).is_file()]
    if len(files) > 1:
        raise CounterpointError(
            f"{folder}: {' and '.join(file.name for file in files)}; keep one, or name it: {data_option('captions', files[0])}"
        )
    return files[0] if files else None


def read_captions(
    path: Path,
    names: Sequence[str],
    skipped: Iterable[str] = (),
    file: str | None = None,
    caption: str | None = None,
) -> list[Captions]:
    """The captions of every image, in the images' order.

    Args:
        place: a file with one row per caption: an image's name and what is said of it.
        names: the images' paths within their folder. A row may give the path, or the bare name where that is unique.
        skipped: images that were left out, whose captions are, too.
        file, caption: columns, when they are not called one of the usual names.

    Raises:
        CounterpointError: other columns, a caption without its image, an image without a caption, an empty caption.
    """
    table = read_table(path)
    columns = sorted(table.names)
    at, text_column = (
        _column(columns, given, usual, path.name)
        for given, usual in ((file, FILE_COLUMNS), (caption, CAPTION_COLUMNS))
    )
    positions = _positions(names)
    left = _positions(list(skipped))
    captions: dict[int, list[str]] = {}
    for index, row in enumerate(table.rows()):
        name = str(PurePosixPath(str(row.get(at) or "").replace("\\", "/")))
        rank = positions.get(name, positions.get(PurePosixPath(name).name))
        if rank is None:
            if name in left or PurePosixPath(name).name in left:
                continue
            hint = nearest(name, names)
            hint = hint if hint.startswith("did") else f"they are called like '{names[0]}'"
            raise CounterpointError(
                f"{table.where(index)}: there is no image '{name}'; {hint}; remove that row, or give the path below the folder"
            )
        if rank < 0:
            raise CounterpointError(
                f"{table.where(index)}: several images are called '{name}'; give the path below the folder, such as "
                f"'{next(n for n in names if n.endswith(PurePosixPath(name).name))}'"
            )
        text = row.get(text_column)
        captions.setdefault(rank, []).extend(checked(text, f"{table.where(index)} ({name})"))
    bare = [name for rank, name in enumerate(names) if rank not in captions]
    if bare:
        without = counted(len(bare), f"of {len(names)} images has", f"of {len(names)} images have")
        raise CounterpointError(
            f"{path.name}: {without} no caption: {', '.join(bare[:3])}; add rows for them, move them "
            f"away, or leave captions out: --data-option captions={LEAVE_OUT}"
        )
    return [tuple(captions[rank]) for rank in range(len(names))]


def checked(text: Any, where: str) -> Captions:
    """One caption, or a list of them, as text with single blanks.

    Raises:
        CounterpointError: an empty one.

    >>> checked("  a red  flag ", "row 2")
    ('a red flag',)
    """
    given = text if isinstance(text, list | tuple) else [text]
    clean = tuple(" ".join(str(one).split()) if one is not None and one == one else "" for one in given)
    if not clean or not all(clean):
        raise CounterpointError(
            f"{where}: empty caption; say what is to be seen, or leave captions out: --data-option captions={LEAVE_OUT}"
        )
    return clean


def same(captions: Captions) -> list[str]:
    """What two images share when their captions are equal but for capitals."""
    return [caption.casefold() for caption in captions]


def _column(columns: list[str], given: str | None, usual: tuple[str, ...], name: str) -> str:
    option, wanted = (
        ("caption", CAPTION_COLUMNS) if usual is CAPTION_COLUMNS else ("image", ("file", "file_name"))
    )
    matching = [column for column in ((given,) if given else usual) if column in columns]
    if not matching:
        raise CounterpointError(
            f"{name}: columns {columns}, none of them {given or ' or '.join(wanted)}; expected one row per caption with the columns "
            f"file and caption, or name the column: --data-option {option}=COLUMN"
        )
    return matching[0]


def _positions(names: Sequence[str]) -> dict[str, int]:
    """Where a path or a bare name leads; -1 for a name that several images have."""
    positions: dict[str, int] = {}
    for rank, name in enumerate(names):
        bare = PurePosixPath(name).name
        positions[bare] = -1 if bare in positions else rank
    return positions | {name: rank for rank, name in enumerate(names)}
