"""Loads pictures of two domains: two folders, a folder of pairs, or plain pictures alone for which a prior makes the others.

    art/plain/*.jpg    art/styled/*.jpg          equal names in both are a pair
    art/trainA, art/trainB, art/testA, art/testB  the folders of CycleGAN's data sets; A is plain

Containers, sizes, transparency, orientation and where pixels are held are those of ``data.images``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch

from counterpoint.data.images.files import read
from counterpoint.data.images.load import resized, same_size
from counterpoint.data.images.opening import Opening
from counterpoint.data.images.split import UNLABELLED, split_rows
from counterpoint.data.images.stacks import Stack
from counterpoint.data.images.table import Table, chosen_side
from counterpoint.data.nested import split_seeds
from counterpoint.data.styles.layout import EXPECTED, Layout, layout_of
from counterpoint.data.styles.sets import NONE, Styles, StyleSet
from counterpoint.data.tables import Rows
from counterpoint.errors import CounterpointError, counted

FEW = 10
"""Pictures of a domain, at least, that are split."""
PLAIN_PROMPTS, STYLED_PROMPTS = ("original image",), ("stylised image",)


def load_styles(
    spec: str | Path,
    *,
    styled: str | None = None,
    paired: Literal["auto", "names", "none"] = "auto",
    plain_prompts: str | None = None,
    styled_prompts: str | None = None,
    size: int | None = None,
    limit: int | None = None,
    unreadable: Literal["error", "skip"] = "error",
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    untested: str = "",
    workers: int = 0,
    rows: Rows = "auto",
) -> Styles:
    """Load pictures of two domains and split them.

    Args:
        spec: a folder with a folder of each domain in it (``plain`` and ``styled``, or ``trainA`` and ``trainB``), or a folder of plain
            pictures. In a domain's folder lie files, a ``metadata`` table, or webdataset shards, as of images.
        styled: the folder of styled pictures, where it lies elsewhere.
        paired: whether files of one name in both folders are a pair: "names", "none", or "auto": where all names of one domain are in the
            other. In shards a name is that of the shard with the row's key.
        plain_prompts: what plain pictures are called, several with semicolons.
        styled_prompts: what styled pictures are called, likewise, such as "in the style of Van Gogh; a painting by Van Gogh".
        size: side in pixels to bring every picture to (shorter side resized, centre cropped); chosen where sizes differ.
        limit: at most that many training pictures of each domain.
        unreadable: "error", or "skip" to leave out files that cannot be opened.
        validation: share of all pictures cut for validation when the files name none.
        test: share of all pictures cut for test, likewise.
        seed: of the split and of the limit.
        untested: seeds of other splits, with commas; what they put into validation is not tested here.
        workers: processes that decode files; the pixels are the same from any number.
        rows: where pixels are held, as of ``load_images``: "memory", "disk" or "auto".

    Raises:
        CounterpointError: with what was found, what was expected and the call that works.
    """
    layout = layout_of(Path(spec), None if styled is None else Path(styled))
    notes: list[str] = []
    domains = (layout.plain, layout.styled)
    opening = Opening(size or _side(domains, Opening(None, workers)), workers, rows)
    plain, style = (_read(folders, opening, unreadable, notes) for folders in domains)
    if len(plain) < 10 or (layout.styled and len(style) < 3):
        raise CounterpointError(
            f"{spec}: {len(plain)} plain and {len(style)} styled pictures; expected at least 10 and 3; {EXPECTED}"
        )
    pixels = _stacks((plain, style), opening.size, size, notes)
    partners = _partners(plain, style, paired, notes)
    cut = _Cut(validation, test, seed, tuple(split_seeds(untested)), str(spec))
    plain_rows = cut.rows(plain, pixels[0], notes)
    styled_rows = cut.rows(style, pixels[1], notes, partners, plain_rows)
    if limit is not None:
        plain_rows["train"], styled_rows["train"] = (
            _limited(rows["train"], limit, seed) for rows in (plain_rows, styled_rows)
        )
    parts: dict[str, Any] = {
        name: _part(pixels, partners, plain_rows[name], styled_rows[name])
        for name in ("train", "validation", "test")
    }
    prompts = {
        "plain": _texts("plain_prompts", plain_prompts, PLAIN_PROMPTS),
        "styled": _texts("styled_prompts", styled_prompts, STYLED_PROMPTS),
    }
    return Styles(**parts, prompts=prompts, notes=tuple(dict.fromkeys(notes)))


@dataclass
class _Pictures:
    """One domain's pictures: what is to be read of each, names without the folder and the ending; and their pixels, a part a folder."""

    shapes: list[tuple[int, int]] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    parts: list[torch.Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)


def _side(domains: Sequence[Layout.Side], opening: Opening) -> int | None:
    """Pixels a side for the pictures of both domains, by their headers; None where they keep their size."""
    looking = replace(opening, shapes_only=True)
    return chosen_side(
        [
            shape
            for folders in domains
            for folder, _ in folders
            for shape in read(folder, opening=looking).shapes
        ]
    )


def _read(folders: Layout.Side, opening: Opening, unreadable: str, notes: list[str]) -> _Pictures:
    """One domain's pictures, with the split that their folder names."""
    whole = _Pictures()
    for folder, split in folders:
        table = read(folder, opening=opening)
        if table.unreadable:
            message = f"{counted(len(table.unreadable), 'file is no readable picture', 'files are not readable pictures')}: {', '.join(table.unreadable)}"
            if unreadable != "skip":
                raise CounterpointError(
                    f"{folder}: {message}; mend or remove them, or leave them out with --data-option unreadable=skip"
                )
            notes.append(message + "; left out")
        if not len(table):
            continue
        whole.shapes += table.shapes
        whole.splits += [split or own for own in table.splits]
        whole.names += [str(PurePosixPath(name).with_suffix("")) if name else "" for name in table.names]
        if table.stored is not None:
            whole.parts.append(table.stored)
        else:
            folder_notes: list[str] = []
            array = same_size(table, opening.size, str(folder), folder_notes)
            notes += [line for line in folder_notes if "turned to colour" in line]
            whole.parts.append(torch.from_numpy(array).permute(0, 3, 1, 2).contiguous())
    return whole


def _stacks(sides: Sequence[_Pictures], side: int | None, given: int | None, notes: list[str]) -> list[Stack]:
    """Both domains' pixels with as many channels as the more colourful has; what was done to them goes to ``notes``."""
    for each in sides:
        if each.names:
            resized(Table(shapes=each.shapes, size=side), given, notes)
    parts = [part for each in sides for part in each.parts]
    channels = max(part.shape[1] for part in parts)
    gray = sum(len(part) for part in parts if part.shape[1] < channels)
    if gray:
        notes.append(
            f"{counted(gray, 'gray picture was', 'gray pictures were')} turned to colour like the rest"
        )
    return [Stack(tuple(each.parts) or (parts[0][:0],), channels) for each in sides]


def _partners(plain: _Pictures, style: _Pictures, paired: str, notes: list[str]) -> np.ndarray:
    """For every styled picture the row of the plain one of its name, -1 for none."""
    doubled = [name for side in (plain, style) for name, count in Counter(side.names).items() if count > 1]
    rows = {name: row for row, name in enumerate(plain.names) if name}
    partners = np.array([rows.get(name, NONE) for name in style.names], dtype=np.int64)
    shared = int((partners != NONE).sum())
    if paired == "names":
        if not shared or doubled:
            why = f"'{doubled[0]}' stands for several pictures" if doubled else "no name is in both folders"
            raise CounterpointError(
                f"paired=names, and {why}; give both pictures of a pair one name, or --data-option paired=none"
            )
        return partners
    if paired == "none" or doubled or shared < min(len(plain.names), len(style.names)):
        if paired == "auto" and shared:
            notes.append(
                f"{shared} names are in both folders, not all of one of them: taken for chance; pairs with --data-option paired=names"
            )
        return np.full(len(style.names), NONE, dtype=np.int64)
    return partners


@dataclass(frozen=True)
class _Cut:
    """How pictures are split."""

    validation: float
    test: float
    seed: int
    untested: tuple[int, ...]
    spec: str

    def rows(
        self,
        side: _Pictures,
        pixels: Stack,
        notes: list[str],
        partners: np.ndarray | None = None,
        plain: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Rows of the three splits; a picture with a partner goes where its partner is."""
        if not len(side):
            return {name: np.zeros(0, dtype=np.int64) for name in ("train", "validation", "test")}
        own = list(side.splits)
        if partners is not None and plain is not None and (partners != NONE).any():
            home = {int(row): name for name, rows in plain.items() for row in rows}
            alone = partners == NONE
            parts = {name: [] for name in plain}  # type: dict[str, list[int]]
            for row, partner in enumerate(partners.tolist()):
                parts["train" if alone[row] else home[partner]].append(row)
            return {name: np.array(rows, dtype=np.int64) for name, rows in parts.items()}
        if len(side) < FEW and not any(own):
            notes.append(
                f"only {len(side)} pictures of one domain: all of them are trained on, none is measured with"
            )
            everything = np.arange(len(side))
            return {"train": everything, "validation": everything[:0], "test": everything[:0]}
        same = [[code] for code in pixels.hashes()]
        labels = np.full(len(pixels), UNLABELLED)
        return split_rows(
            labels, same, own, self.validation, self.test, self.seed, self.spec, notes, self.untested
        )


def _limited(rows: np.ndarray, limit: int, seed: int) -> np.ndarray:
    if limit < 1:
        raise CounterpointError(f"limit={limit}; expected a positive number of pictures")
    return np.sort(np.random.default_rng(seed).permutation(rows)[:limit])


def _part(pixels: Sequence[Stack], partners: np.ndarray, plain: np.ndarray, style: np.ndarray) -> StyleSet:
    position = {int(row): number for number, row in enumerate(plain)}
    beside = torch.tensor([position.get(int(row), NONE) for row in partners[style]], dtype=torch.long)
    none = [torch.full((len(rows),), UNLABELLED) for rows in (plain, style)]
    plain_pixels, styled_pixels = (
        side.rows(torch.as_tensor(rows)) for side, rows in zip(pixels, (plain, style), strict=True)
    )
    return StyleSet(plain_pixels, styled_pixels, beside, *none)


def _texts(option: str, given: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    if given is None:
        return usual
    texts = tuple(text.strip() for text in given.split(";") if text.strip())
    if not texts:
        raise CounterpointError(
            f"{option}={given!r} holds no prompt; expected one or several with semicolons, such as 'a painting; a canvas'"
        )
    return texts
