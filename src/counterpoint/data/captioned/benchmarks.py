"""Reads items of two published forms: Winoground's (two images, two captions) and ARO's (an image, its caption, wrong ones)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from counterpoint.data.captioned.items import ChoiceItems, PairItems
from counterpoint.data.captioned.pictures import Box, located, opened
from counterpoint.data.tables import read_splits
from counterpoint.errors import CounterpointError

PAIR_COLUMNS = ("image_0", "image_1", "caption_0", "caption_1")
TRUE_COLUMNS = ("true_caption", "caption")
FALSE_COLUMNS = ("false_caption", "false_captions", "negatives")
CHOICE_IMAGES = ("image_path", "image", "file_name", "file")
GROUP_COLUMNS = ("relation_name", "attributes", "tag")
BOX_COLUMNS = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")


def read_winoground(path: Path, shape: tuple[int, int, int], images: str | None = None) -> PairItems:
    """Items of Winoground's columns, from a table, a folder of them, or a folder of the datasets library.

    Args:
        shape: of the training images, which these are brought to. images: the folder of the images.

    Raises:
        CounterpointError: other columns, an empty caption, two equal captions, or an image that cannot be had.
    """
    pixels, captions, tags = [], [], []
    for row, base, where in _rows(path, "winoground", PAIR_COLUMNS):
        texts = [_text(row, column, where) for column in ("caption_0", "caption_1")]
        if texts[0] == texts[1]:
            raise CounterpointError(
                f"{where}: both captions are '{texts[0]}'; give two different ones, or remove the row"
            )
        both = [
            opened(located(row[column], base, images, where)[1], shape, where)
            for column in ("image_0", "image_1")
        ]
        pixels.append(torch.stack(both))
        captions.append((texts[0], texts[1]))
        tags.append(str(row.get("tag") or ""))
    return PairItems(torch.stack(pixels), tuple(captions), tuple(tags))


def read_aro(path: Path, shape: tuple[int, int, int], images: str | None = None) -> ChoiceItems:
    """Items of ARO's columns: an image (cut to its box where there is one), its caption and one or several wrong ones.

    Args:
        shape, images: as in ``read_winoground``.

    Raises:
        CounterpointError: other columns, an empty caption, a wrong caption equal to the true one, or an image that cannot be had.
    """
    pixels, true, false, groups = [], [], [], []
    for row, base, where in _rows(path, "aro", ()):
        at, right, wrong = (
            _present(row, names, where) for names in (CHOICE_IMAGES, TRUE_COLUMNS, FALSE_COLUMNS)
        )
        text = _text(row, right, where)
        given = row[wrong] if isinstance(row[wrong], list | tuple) else [row[wrong]]
        others = tuple(" ".join(str(one).split()) for one in given if one)
        if not others or text in others:
            raise CounterpointError(
                f"{where}: {wrong}={row[wrong]!r} beside the caption '{text}'; expected one or several captions that are wrong"
            )
        file = located(row[at], base, images, where)[1]
        pixels.append(opened(file, shape, where, _box(row, where)))
        true.append(text)
        false.append(others)
        groups.append(_group(row))
    return ChoiceItems(torch.stack(pixels), tuple(true), tuple(false), tuple(groups))


def _rows(path: Path, option: str, columns: tuple[str, ...]) -> Iterator[tuple[Mapping[str, Any], Path, str]]:
    """Every row with the folder of its file and its name for messages; of all splits."""
    if not path.exists():
        raise CounterpointError(
            f"{option}={path}: no such file; give a table or a folder of the datasets library"
        )
    for tables in read_splits(path).values():
        for table in tables:
            lacking = [name for name in columns if name not in table.names]
            if lacking:
                raise CounterpointError(
                    f"{option}={path}: columns {sorted(table.names)} without {', '.join(lacking)}; expected {', '.join(columns)}"
                )
            base = table.path if table.path.is_dir() else table.path.parent
            for index, row in enumerate(table.rows()):
                yield row, base, table.where(index)


def _present(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> str:
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        raise CounterpointError(
            f"{where}: columns {sorted(row)}, none of them {' or '.join(names)}; expected image_path, true_caption and false_caption"
        )
    return name


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    text = " ".join(str(row.get(column) or "").split())
    if not text:
        raise CounterpointError(f"{where}: {column} is empty; write the caption, or remove the row")
    return text


def _box(row: Mapping[str, Any], where: str) -> Box | None:
    given = [row.get(name) for name in BOX_COLUMNS]
    if all(value is None for value in given):
        return None
    try:
        left, top, width, height = (int(float(value)) for value in given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise CounterpointError(
            f"{where}: {', '.join(BOX_COLUMNS)} are {given}; expected four numbers of pixels"
        ) from None
    return left, top, width, height


def _group(row: Mapping[str, Any]) -> str:
    given = next((row[name] for name in GROUP_COLUMNS if row.get(name) is not None), "")
    return " ".join(map(str, given)) if isinstance(given, list | tuple) else str(given)
