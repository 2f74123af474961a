"""Loads pictures of two domains: two folders, a folder of pairs, or plain pictures alone for which a prior makes the others.

    art/plain/*.jpg    art/styled/*.jpg          equal names in both are a pair
    art/trainA, art/trainB, art/testA, art/testB  the folders of CycleGAN's data sets; A is plain

Files, sizes, transparency and orientation are those of ``data.images``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch

from counterpoint.data.images.files import read
from counterpoint.data.images.load import same_size
from counterpoint.data.images.opening import Opening
from counterpoint.data.images.pixels import colour
from counterpoint.data.images.split import UNLABELLED, hashes, split_rows
from counterpoint.data.images.table import LARGEST, Table
from counterpoint.data.nested import split_seeds
from counterpoint.data.styles.layout import EXPECTED, Layout, layout_of
from counterpoint.data.styles.sets import NONE, Styles, StyleSet
from counterpoint.errors import CounterpointError

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
) -> Styles:
    """Load pictures of two domains and split them.

    Args:
        spec: a folder with a folder of each domain in it (``plain`` and ``styled``, or ``trainA`` and ``trainB``), or a folder of plain pictures.
        styled: the folder of styled pictures, where it lies elsewhere.
        paired: whether files of one name in both folders are a pair: "names", "none", or "auto": where all names of one domain are in the other.
        plain_prompts: what plain pictures are called, several with semicolons.
        styled_prompts: what styled pictures are called, likewise, such as "in the style of Van Gogh; a painting by Van Gogh".
        size: side in pixels to bring every picture to (shorter side resized, centre cropped); chosen where sizes differ.
        limit: at most that many training pictures of each domain.
        unreadable: "error", or "skip" to leave out files that cannot be opened.
        validation: share of all pictures cut for validation when the files name none.
        test: share of all pictures cut for test, likewise.
        seed: of the split and of the limit.
        untested: seeds of other splits, with commas; what they put into validation is not tested here.

    Raises:
        CounterpointError: with what was found, what was expected and the call that works.
    """
    layout = layout_of(Path(spec), None if styled is None else Path(styled))
    notes: list[str] = []
    sides = [_read(folders, size, unreadable, notes) for folders in (layout.plain, layout.styled)]
    plain, style = sides
    if len(plain.pixels) < 10 or (layout.styled and len(style.pixels) < 3):
        raise CounterpointError(
            f"{spec}: {len(plain.pixels)} plain and {len(style.pixels)} styled pictures; expected at least 10 and 3; {EXPECTED}"
        )
    pixels = _one_size(sides, size, str(spec), notes)
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


def _read(folders: Layout.Side, size: int | None, unreadable: str, notes: list[str]) -> Table:
    """One domain's pictures, with the split that their folder names; names without the folder and the ending."""
    whole = Table()
    for folder, split in folders:
        table = read(folder, opening=Opening(size, rows="memory"))
        if table.unreadable:
            message = (
                f"{len(table.unreadable)} files are not readable pictures: {', '.join(table.unreadable)}"
            )
            if unreadable != "skip":
                raise CounterpointError(
                    f"{folder}: {message}; mend or remove them, or leave them out with --data-option unreadable=skip"
                )
            notes.append(message + "; left out")
        whole.size = table.size if size is not None else None
        for row, picture in enumerate(table.pixels):
            name = str(PurePosixPath(table.names[row]).with_suffix("")) if table.names[row] else ""
            whole.add(picture, None, split or table.splits[row], name, shape=table.shapes[row])
    return whole


def _one_size(sides: Sequence[Table], size: int | None, spec: str, notes: list[str]) -> list[torch.Tensor]:
    """Both domains' pictures as [N, C, S, S] uint8 of one size and as many channels as the more colourful has."""
    there = [side for side in sides if side.pixels]
    if size is None and len({shape for side in there for shape in side.shapes}) > 1:
        size = min(LARGEST, int(np.median([min(shape) for side in there for shape in side.shapes])))
    arrays = [same_size(side, size, spec, notes) for side in there]
    channels = max(array.shape[3] for array in arrays)
    result = [
        torch.from_numpy(np.stack([colour(picture, channels) for picture in array]))
        .permute(0, 3, 1, 2)
        .contiguous()
        for array in arrays
    ]
    return result if len(result) == len(sides) else [result[0], result[0][:0]]


def _partners(plain: Table, style: Table, paired: str, notes: list[str]) -> np.ndarray:
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
        side: Table,
        pixels: torch.Tensor,
        notes: list[str],
        partners: np.ndarray | None = None,
        plain: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Rows of the three splits; a picture with a partner goes where its partner is."""
        if not side.pixels:
            return {name: np.zeros(0, dtype=np.int64) for name in ("train", "validation", "test")}
        own = list(side.splits)
        if partners is not None and plain is not None and (partners != NONE).any():
            home = {int(row): name for name, rows in plain.items() for row in rows}
            alone = partners == NONE
            parts = {name: [] for name in plain}  # type: dict[str, list[int]]
            for row, partner in enumerate(partners.tolist()):
                parts["train" if alone[row] else home[partner]].append(row)
            return {name: np.array(rows, dtype=np.int64) for name, rows in parts.items()}
        if len(side.pixels) < FEW and not any(own):
            notes.append(
                f"only {len(side.pixels)} pictures of one domain: all of them are trained on, none is measured with"
            )
            everything = np.arange(len(side.pixels))
            return {"train": everything, "validation": everything[:0], "test": everything[:0]}
        same = [[code] for code in hashes(pixels)]
        labels = np.full(len(pixels), UNLABELLED)
        return split_rows(
            labels, same, own, self.validation, self.test, self.seed, self.spec, notes, self.untested
        )


def _limited(rows: np.ndarray, limit: int, seed: int) -> np.ndarray:
    if limit < 1:
        raise CounterpointError(f"limit={limit}; expected a positive number of pictures")
    return np.sort(np.random.default_rng(seed).permutation(rows)[:limit])


def _part(
    pixels: Sequence[torch.Tensor], partners: np.ndarray, plain: np.ndarray, style: np.ndarray
) -> StyleSet:
    position = {int(row): number for number, row in enumerate(plain)}
    beside = torch.tensor([position.get(int(row), NONE) for row in partners[style]], dtype=torch.long)
    none = [torch.full((len(rows),), UNLABELLED) for rows in (plain, style)]
    return StyleSet(pixels[0][torch.as_tensor(plain)], pixels[1][torch.as_tensor(style)], beside, *none)


def _texts(option: str, given: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    if given is None:
        return usual
    texts = tuple(text.strip() for text in given.split(";") if text.strip())
    if not texts:
        raise CounterpointError(
            f"{option}={given!r} holds no prompt; expected one or several with semicolons, such as 'a painting; a canvas'"
        )
    return texts
