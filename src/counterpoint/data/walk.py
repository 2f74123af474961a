"""Which files of a folder are data: the one walk of every kind of data and of recognition. Opens no data.

What other programs leave behind is never data: hidden files and folders, the side files of operating systems and
archivers, folders of our own runs and studies, and folders of models. Links to files and folders are followed as often as
they lead somewhere new. The names inside the folder decide, so that a link named ``cat.png`` is an image wherever it points,
and a folder given by the user is read wherever it lies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from counterpoint.errors import CounterpointError

SYSTEM = frozenset(
    {
        "__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "$recycle.bin",
        "system volume information", "lost+found", "@eadir", "#recycle", "#snapshot", "__pycache__",
    }
)  # fmt: skip
"""What operating systems, archivers and file servers put between a user's files, in lower case."""

RECORDS = {
    "run.json": ("identity", "recipe"),
    "study.json": ("identity", "plan"),
    "result.json": ("metrics", "cost"),
}
"""The records of a run or a study, and what each holds; ``study.store`` writes them."""

HIDDEN = "hidden"
SIDE = "of the operating system or an archiver"
RUNS = "of runs"
MODELS = "of models"
LOOPS = "links back to what is read already"
WRITTEN = "links that were saved as text, whose folders are not read"
SPECIAL = "neither files nor folders"


@dataclass
class Walk:
    """The data files below a folder, sorted, and what was left out.

    Attributes:
        folder: where the walk began.
        files: paths below ``folder``. A link that leads nowhere is among them: it names data that is missing.
        left_out: reason -> paths.
        whole: whether the walk came to its end, or stopped at a limit.
    """

    folder: Path
    files: list[Path] = field(default_factory=list)
    left_out: dict[str, list[Path]] = field(default_factory=dict)
    whole: bool = True

    def of(self, suffixes: Iterable[str]) -> list[Path]:
        """The files with one of these endings, in whatever case."""
        wanted = tuple(suffixes)
        return [file for file in self.files if file.name.lower().endswith(wanted)]

    def named(self, stem: str, suffixes: Iterable[str]) -> list[Path]:
        """The files of this name, without regard to case, with one of these endings."""
        return [file for file in self.of(suffixes) if file.name.split(".")[0].lower() == stem]

    def describe(self) -> list[str]:
        """Say what was left out, one reason a line, with a few names each."""
        lines = []
        for reason, paths in self.left_out.items():
            names = [shown(path.relative_to(self.folder)) for path in paths]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"no data, left out: {len(names)} {reason} ({', '.join(names[:3])}{more})")
        return lines


def shown(path: Path) -> str:
    """A path as text that every terminal and file can hold, also where its bytes are no UTF-8.

    >>> shown(Path(os.fsdecode(b"caf\\xe9.png")))
    'caf\\\\xe9.png'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def walk(folder: Path, *, deep: bool = True, limit: int | None = None) -> Walk:
    """List the data files of a folder.

    Args:
        folder: where to begin; its own name and contents do not count against it.
        deep: whether to go into the folders below.
        limit: stop after that many files, for a first look.

    Raises:
        CounterpointError: a folder that cannot be opened, or one of a run or a study.
    """
    collected = Walk(folder)
    if _is_run(folder, {entry.name for entry in _entries(folder)}):
        raise CounterpointError(
            f"{folder} is the folder of a run of counterpoint, not of data; give the data that it was trained on, or the folder "
            "of its model as --model"
        )
    for number, file in enumerate(_files(collected, deep)):
        if limit is not None and number >= limit:
            collected.whole = False
            break
        collected.files.append(file)
    collected.files.sort()
    return collected


def _files(collected: Walk, deep: bool) -> Iterator[Path]:
    """The data files, folder by folder; what is no data goes to ``found.left_out``."""
    entered: set[str] = set()
    waiting = [(collected.folder, False)]
    while waiting:
        folder, linked = waiting.pop()
        real = os.path.realpath(folder)
        entered.add(real)
        below = []
        for entry in _entries(folder):
            path = folder / entry.name
            reason = HIDDEN if entry.name.startswith(".") else SIDE if entry.name.lower() in SYSTEM else None
            if reason is None and os.path.isdir(path):
                if not deep:
                    continue
                target, link = os.path.realpath(path), entry.is_symlink()
                # Inside a linked folder a link is followed to new folders only, or a handful of folders that
                # link to each other would be walked in every order.
                if link and (_contains(target, real) or (linked and target in entered)):
                    reason = LOOPS
                else:
                    names = {inner.name for inner in _entries(path)}
                    reason = RUNS if _is_run(path, names) else MODELS if _is_model(names) else None
                    if reason is None:
                        below.append((path, linked or link))
                        continue
            elif reason is None and os.path.exists(path) and not os.path.isfile(path):
                reason = SPECIAL
            elif reason is None and _is_written_link(path):
                reason = WRITTEN
            if reason is None:
                yield path
            else:
                collected.left_out.setdefault(reason, []).append(path)
        waiting += reversed(below)


def _is_written_link(path: Path) -> bool:
    """Whether a small text file holds the way to a folder: so links leave some archives, and Git where links are off."""
    try:
        if path.suffix or not 0 < path.stat().st_size < 1024:
            return False
        target = path.read_text(encoding="utf-8").strip()
        return "/" in target and "\n" not in target and (path.parent / target).is_dir()
    except (OSError, ValueError):
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise CounterpointError(
            f"{shown(folder)} cannot be opened as a folder ({error.strerror}); see that it is whole and may be read, or move it away"
        ) from None


def _contains(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)


def _is_run(folder: Path, names: set[str]) -> bool:
    """Whether a folder is that of a run or a study: one of its records is there and holds what we write."""
    if "events.jsonl" in names and names & {"checkpoints", "stages"}:
        return True
    for name, keys in RECORDS.items():
        if name in names:
            try:
                content = json.loads((folder / name).read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(content, dict) and all(key in content for key in keys):
                return True
    return False


def _is_model(names: set[str]) -> bool:
    """Whether a folder is that of a model: a configuration beside weights."""
    return "config.json" in names and any(
        name.endswith(".safetensors") or name.startswith("pytorch_model") for name in names
    )
