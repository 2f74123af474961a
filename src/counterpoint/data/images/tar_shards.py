"""Shards of the webdataset format: .tar files whose members of one key make a row, such as 0001.jpg, 0001.cls and 0001.txt."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from counterpoint.data.endings import PICTURES
from counterpoint.data.images.captions import CAPTION_COLUMNS, checked
from counterpoint.data.images.opening import TarMember
from counterpoint.data.images.table import Source
from counterpoint.data.tables import split_of
from counterpoint.errors import CounterpointError

LABELS = ("cls", "label")
"""Endings of a member that holds the class."""
CAPTIONS = ("txt", "caption")
"""Endings of a member that holds a caption."""


def sources(shards: Sequence[Path], captioned: bool) -> list[Source]:
    """The images of shards, in the order of the files and of the members in them; their bytes are read when they are opened.

    A shard whose name begins with a split's is of that split. A ``.json`` member may hold ``label`` and ``caption``.

    Raises:
        CounterpointError: a damaged shard, a compressed one, or one without images.
    """
    result: list[Source] = []
    for path in shards:
        for key, picture, record in records(path):
            label = record.get("label", record.get("cls"))
            caption = next((record[name] for name in CAPTION_COLUMNS if name in record), None)
            captions = checked(caption, f"{path.name}, {key}") if captioned and caption is not None else None
            result.append(Source(picture, label, split_of_shard(path), f"{path.name}/{key}", captions))
    return result


def split_of_shard(path: Path) -> str | None:
    """The split that the beginning of a shard's name says, None where it says none."""
    return split_of(path.name.split("-")[0].split(".")[0])


def records(path: Path) -> list[tuple[str, TarMember, dict[str, Any]]]:
    """Key, image and what is said of it: the fields of the json member, with a label and a caption that have members of their own.

    Raises:
        CounterpointError: as ``sources``.
    """
    result = []
    for key, row in _rows(path).items():
        picture = next((row[end] for end in row if f".{end}" in PICTURES), None)
        if picture is None:
            continue
        record = _json(row["json"], path, key) if "json" in row else {}
        texts = {"label": _text(row, LABELS), "caption": _text(row, CAPTIONS)}
        result.append((key, picture, record | {name: text for name, text in texts.items() if text}))
    if not result:
        raise CounterpointError(
            f"{path}: no member is an image; expected 0001.jpg (or .png, ...) with 0001.cls or 0001.txt beside it"
        )
    return result


def _rows(path: Path) -> dict[str, dict[str, TarMember]]:
    """Key -> ending -> member; a key is a name up to the first dot of its last part."""
    rows: dict[str, dict[str, TarMember]] = {}
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                folder, _, name = member.name.rpartition("/")
                stem, dot, ending = name.partition(".")
                if member.isfile() and dot and stem:
                    part = TarMember(path, member.offset_data, member.size)
                    rows.setdefault(f"{folder}/{stem}".lstrip("/"), {})[ending.lower()] = part
    except (tarfile.TarError, OSError, EOFError) as error:
        raise CounterpointError(
            f"{path}: not a readable .tar file without compression ({str(error)[:120]}); write it anew, or unpack it"
        ) from None
    return rows


def _text(row: dict[str, TarMember], endings: Sequence[str]) -> str | None:
    member = next((row[ending] for ending in endings if ending in row), None)
    return None if member is None else member.open().read().decode("utf-8", "replace").strip()


def _json(member: TarMember, path: Path, key: str) -> dict[str, Any]:
    try:
        content = json.loads(member.open().read())
    except ValueError as error:
        raise CounterpointError(f"{path}, {key}.json: {error}; expected an object") from None
    return content if isinstance(content, dict) else {}
