"""Which files of a folder are data: the one walk of every kind of data and of recognition. Opens no data.

What other programs leave behind is never data: hidden files and folders, the side files of operating systems and
archivers, folders of our own runs and studies, and folders of models. Links to files and folders are followed as often as
they lead somewhere new, also links that were saved as text: archives and Git on some systems leave a small file that holds the
way to what was linked. The names inside the folder decide, so that a link named ``cat.png`` is an image wherever it points,
and a folder given by the user is read wherever it lies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from counterpoint.errors import CounterpointError, counted, other_locale

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
SPECIAL = "neither files nor folders"
LONGEST_LINK = 1024
"""Bytes of a file that may be a link saved as text."""


@dataclass(frozen=True, order=True)
class File:
    """A data file.

    Attributes:
        name: below the folder that was walked, by the names of links; it says class and split.
        path: where it is opened.
    """

    name: PurePosixPath
    path: Path = field(compare=False)

    @property
    def suffix(self) -> str:
        """The ending of the name, in lower case."""
        return self.name.suffix.lower()


@dataclass
class Walk:
    """The data files below a folder, sorted, and what was left out.

    Attributes:
        folder: where the walk began.
        files: the data files. A link that leads nowhere is among them: it names data that is missing.
        left_out: reason -> names below ``folder``.
        written: links that were saved as text and are followed, by name.
        whole: whether the walk came to its end, or stopped at a limit.
    """

    folder: Path
    files: list[File] = field(default_factory=list)
    left_out: dict[str, list[PurePosixPath]] = field(default_factory=dict)
    written: list[PurePosixPath] = field(default_factory=list)
    whole: bool = True

    def of(self, suffixes: Iterable[str]) -> list[File]:
        """The files with one of these endings, in whatever case.

        Raises:
            CounterpointError: names among them whose bytes are no UTF-8: they become classes and rows of records.
        """
        wanted = tuple(suffixes)
        files = [file for file in self.files if file.name.name.lower().endswith(wanted)]
        odd = [file.name for file in files if not _is_utf8(str(file.name))]
        if odd:
            if locale := other_locale(str(odd[0])):
                raise CounterpointError(f"{shown(self.folder)}: {locale}")
            raise CounterpointError(
                f"{shown(self.folder)}: {counted(len(odd), 'file has a name that is', 'files have names that are')} no UTF-8 ({_few(odd)}); rename them, for example with "
                f"convmv -f latin1 -t utf8 -r --notest {shown(self.folder)}"
            )
        return files

    def named(self, stem: str, suffixes: Iterable[str]) -> list[File]:
        """The files of this name, without regard to case, with one of these endings."""
        return [file for file in self.of(suffixes) if file.name.name.split(".")[0].lower() == stem]

    def describe(self) -> list[str]:
        """Say what was left out, one reason a line, and which links were saved as text, with a few names each."""
        lines = [
            f"no data, left out: {len(names)} {reason} ({_few(names)})"
            for reason, names in self.left_out.items()
        ]
        if self.written:
            lines.append(
                f"followed: {counted(len(self.written), 'link that was', 'links that were')} saved as text ({_few(self.written)})"
            )
        return lines


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _few(names: Sequence[PurePath]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(shown, names[:3])) + more


def shown(path: PurePath) -> str:
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


def _files(collected: Walk, deep: bool) -> Iterator[File]:
    """The data files, folder by folder; what is no data goes to ``collected.left_out``."""
    entered: set[str] = set()
    waiting = [(collected.folder, PurePosixPath(), False)]
    while waiting:
        folder, above, linked = waiting.pop()
        real = os.path.realpath(folder)
        entered.add(real)
        below = []
        for entry in _entries(folder):
            path, name = folder / entry.name, above / entry.name
            side = entry.name.lower() in SYSTEM or entry.name.startswith(
                "~$"
            )  # "~$": an open document's lock
            reason = HIDDEN if entry.name.startswith(".") else SIDE if side else None
            written = _written_link(path) if reason is None else None
            path = written or path
            if reason is None and os.path.isdir(path):
                if not deep:
                    continue
                target, link = os.path.realpath(path), entry.is_symlink() or written is not None
                # Inside a linked folder a link is followed to new folders only, or a handful of folders that
                # link to each other would be walked in every order.
                if link and (_contains(target, real) or (linked and target in entered)):
                    reason = LOOPS
                else:
                    names = {inner.name for inner in _entries(path)}
                    reason = RUNS if _is_run(path, names) else MODELS if _is_model(names) else None
                    if reason is None:
                        below.append((path, name, linked or link))
            elif reason is None and os.path.exists(path) and not os.path.isfile(path):
                reason = SPECIAL
            elif reason is None:
                yield File(name, path)
            if reason is not None:
                collected.left_out.setdefault(reason, []).append(name)
            elif written is not None:
                collected.written.append(name)
        waiting += reversed(below)


def follow(folder: Path, name: str) -> Path:
    """Where a file that a table names is opened: on its way may lie links that were saved as text."""
    path = folder / name
    if path.exists():
        return _written_link(path) or path
    for part in Path(name).parts:
        folder = folder / part
        folder = _written_link(folder) or folder
    return folder


def _written_link(path: Path) -> Path | None:
    """Where a link that was saved as text leads, if a file is one: it holds the way to a folder, or to a file of its own ending.

    So links leave some archives, and Git where links are off.
    """
    try:
        if path.is_symlink() or not path.is_file() or not 0 < path.stat().st_size <= LONGEST_LINK:
            return None
        target = path.read_text(encoding="utf-8")
        if "\n" in target.rstrip("\r\n") or target.strip() in ("", ".", "/"):
            return None
        leads = path.parent / target.strip()
        same = leads.suffix.lower() == path.suffix.lower() != "" and not os.path.samefile(leads, path)
        return leads if (leads.is_dir() and not path.suffix) or (same and leads.is_file()) else None
    except (OSError, ValueError):
        return None


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
