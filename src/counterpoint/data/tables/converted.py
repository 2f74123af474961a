"""What was made of a large file once and is opened again without reading the file: folders in the cache, whole or not there.

A folder is named by the file's path and state, so that a changed file is read anew. It holds the sha256 of the
file's bytes, which stands for its content in fingerprints.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import version as package_version
from pathlib import Path

from filelock import FileLock

from counterpoint.bundled.cache import root
from counterpoint.errors import CounterpointError

VERSION = (1, package_version("counterpoint"))
"""Of what is written and of what wrote it; what another one wrote is written anew."""
DIGEST = "sha256"


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
                _write(folder, fill, files)
    except OSError as error:
        if isinstance(error, CounterpointError):
            raise
        raise CounterpointError(
            f"{files[0] if files else what[:80]}: what is made of it could not be written to {folder.parent} ({error.strerror or error}); "
            "free some space, or set COUNTERPOINT_CACHE to a folder on another disk"
        ) from None
    return folder


def state_of(file: Path) -> tuple[str, int, int, int, int]:
    """What changes when a file is written or replaced: also by one of the same size, whose time of change was copied with it."""
    state = file.stat()
    return str(file.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def _write(folder: Path, fill: Callable[[Path], object], files: Sequence[Path]) -> None:
    aside = folder.with_name(f".{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)  # left by a process that was killed
    aside.mkdir()
    try:
        fill(aside)
        (aside / DIGEST).write_text(content_digest(files), encoding="ascii")
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
