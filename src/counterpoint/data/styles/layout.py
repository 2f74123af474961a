"""Where the pictures of each domain lie. Loads no torch: kinds of data are recognised by it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from counterpoint.errors import CounterpointError

FOLDERS = {"plain": "plain", "styled": "styled", "trainA": "plain", "trainB": "styled"}
"""Folders of the domains, by name; A is plain in the data sets of CycleGAN."""
EVALUATED = {
    "testA": ("plain", "test"), "testB": ("styled", "test"), "valA": ("plain", "validation"), "valB": ("styled", "validation"),
}  # fmt: skip
EXPECTED = (
    "give a folder with the folders 'plain' and 'styled' in it (or 'trainA' and 'trainB'), or the styled pictures' own folder: "
    "--data-option styled=FOLDER"
)


@dataclass(frozen=True)
class Layout:
    """The folders of each domain, each with the split that its name says, or None."""

    Side = list[tuple[Path, str | None]]

    plain: Side
    styled: Side


def domains_in(folder: Path) -> dict[str, Path]:
    """Domain -> its folder, of those that lie in ``folder``; empty where there are not both."""
    folders = {
        FOLDERS[path.name]: path
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name in FOLDERS
    }
    return folders if len(folders) == 2 else {}


def layout_of(folder: Path, styled: Path | None) -> Layout:
    """Which folders hold which domain.

    Args:
        folder: of both domains, or of plain pictures. styled: of styled pictures that lie elsewhere.

    Raises:
        CounterpointError: a path that is no folder, or styled pictures twice.
    """
    for path in (folder, styled):
        if path is not None and not path.is_dir():
            raise CounterpointError(f"{path} is no folder; {EXPECTED}")
    folders = domains_in(folder)
    if folders and styled is not None:
        raise CounterpointError(
            f"{folder} has a folder of styled pictures ({folders['styled'].name}), and styled={styled} is another; leave the option out, or give "
            f"{folders['plain']} as the data"
        )
    if not folders:
        return Layout([(folder, None)], [(styled, None)] if styled else [])
    result = Layout([(folders["plain"], None)], [(folders["styled"], None)])
    if folders["plain"].name == "trainA":
        extra = [(folder / name, *about) for name, about in EVALUATED.items() if (folder / name).is_dir()]
        result = Layout([(folders["plain"], "train")], [(folders["styled"], "train")])
        for path, domain, split in extra:
            (result.plain if domain == "plain" else result.styled).append((path, split))
    return result
