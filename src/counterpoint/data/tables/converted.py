"""What was made of a large file once and is opened again without reading the file: folders in the cache, whole or not there.

A folder is named by the file's path and state, so that a changed file is read anew. It holds the sha256 of the
file's bytes, which stands for its content in fingerprints.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path

from filelock import FileLock, Timeout

from counterpoint.bundled.cache import root
from counterpoint.errors import CounterpointError

VERSION = (1, package_version("counterpoint"))
"""Of what is written and of what wrote it; what another one wrote is written anew."""
DIGEST = "sha256"
MADE_OF = "made-of.json"


def converted(files: Sequence[Path], what: str, fill: Callable[[Path], object]) -> Path:
    """The folder of what ``fill(folder)`` makes of files; made once, by one process while others wait.

    Args:
        files: what it is made of; none where ``what`` names the content by its digest. what: names the conversion with its options.

    Raises:
        CounterpointError: a full disk, or as ``fill``. Nothing half-written stays behind.
    """
    states = [state_of(file) for file in files]
    name = hashlib.sha256(repr((VERSION, what, states)).encode()).hexdigest()[:24]
    folder = root() / "converted" / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _write(folder, fill, files, what)
    except OSError as error:
        if isinstance(error, CounterpointError):
            raise
        raise CounterpointError(
            f"{files[0] if files else what[:80]}: what is made of it could not be written to {folder.parent} ({error.strerror or error}); "
            "free some space, or set COUNTERPOINT_CACHE to a folder on another disk"
        ) from None
    return folder


@dataclass(frozen=True)
class Conversion:
    """A folder of the cache: what was made of which files, its bytes, and when it was made, in seconds."""

    folder: Path
    what: str
    files: tuple[str, ...]
    size: int
    made: float


def conversions() -> list[Conversion]:
    """All that was made of files and is still there, the largest first."""
    result = []
    for folder in (root() / "converted").glob("[!.]*"):
        if not folder.is_dir():
            continue
        try:
            made = json.loads((folder / MADE_OF).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # of a version that wrote nothing about it
            made = {"what": "", "files": []}
        size = sum(file.stat().st_size for file in folder.iterdir())
        result.append(Conversion(folder, made["what"], tuple(made["files"]), size, folder.stat().st_mtime))
    return sorted(result, key=lambda one: (-one.size, one.folder))


def clear() -> tuple[int, int]:
    """Remove all that was made of files; it is made again when it is needed. Return how many folders went, and their bytes.

    What a process is writing stays. One that has a file mapped goes on reading it; its space comes free when it ends.
    """
    count = size = 0
    for one in conversions():
        try:
            with FileLock(one.folder.with_suffix(".lock"), timeout=0):
                shutil.rmtree(one.folder, ignore_errors=True)
        except Timeout:
            continue
        count, size = count + 1, size + one.size
    return count, size


def state_of(file: Path) -> tuple[str, int, int, int, int]:
    """What changes when a file is written or replaced: also by one of the same size, whose time of change was copied with it."""
    state = file.stat()
    return str(file.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def _write(folder: Path, fill: Callable[[Path], object], files: Sequence[Path], what: str) -> None:
    aside = folder.with_name(f".{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)  # left by a process that was killed
    aside.mkdir()
    try:
        fill(aside)
        (aside / DIGEST).write_text(content_digest(files), encoding="ascii")
        made_of = {"what": what, "files": [str(file.resolve()) for file in files]}
        (aside / MADE_OF).write_text(json.dumps(made_of), encoding="utf-8")
        for written in aside.iterdir():
            with written.open("rb") as file:
                os.fsync(file.fileno())
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def digest_of(folder: Path) -> str:
    """The sha256 of the bytes that a folder of ``converted`` was made of."""
    return (folder / DIGEST).read_text(encoding="ascii")


def content_digest(files: Sequence[Path]) -> str:
    """Sha256 of the sha256 of each file's bytes."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
