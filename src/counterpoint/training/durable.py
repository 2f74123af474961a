"""Folders that exist whole or not at all: written aside, checksummed, synced, then renamed into place."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError

MANIFEST = "manifest.json"


def write_folder(target: Path, fill: Callable[[Path], Mapping[str, str] | None]) -> None:
    """Let ``fill`` write files into a fresh folder, then publish it atomically as ``target``.

    Raises:
        CounterpointError: the disk is full. Nothing half-written stays behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".writing-{target.name}-{os.getpid()}"
    for stale in target.parent.glob(f".writing-{target.name}-*"):  # left by a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    try:
        aside.mkdir()
        computed = fill(aside) or {}
        files = {str(path.relative_to(aside)): path for path in sorted(aside.rglob("*")) if path.is_file()}
        sums = {name: computed.get(name) or checksum(path) for name, path in files.items()}
        (aside / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")
        publish(aside, target)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise CounterpointError(
                f"no space left to write {target}; what was saved before is whole: free some space and run the same command"
            ) from error
        raise
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if "No space left" in str(error) or "File too large" in str(error):  # safetensors wraps the OSError
            raise CounterpointError(
                f"no space left to write {target}; what was saved before is whole: free some space and run the same command"
            ) from error
        raise


def publish(aside: Path, target: Path) -> None:
    """Sync a finished folder and rename it into place."""
    for path in aside.rglob("*"):
        _sync(path)
    _sync(aside)
    if target.exists():
        shutil.rmtree(target)
    os.replace(aside, target)
    _sync(target.parent)


def write_file(path: Path, text: str) -> None:
    """Write a file aside, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".writing-{path.name}-{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    _sync(aside)
    os.replace(aside, path)
    _sync(path.parent)


def damage(folder: Path) -> str | None:
    """Say what is wrong with a folder written by ``write_folder``, or None when every file is as it was written."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return "it has no manifest"
    try:
        sums: Any = json.loads(manifest.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError):
        return "its manifest is torn"
    if not isinstance(sums, dict) or not sums or not all(isinstance(each, str) for each in sums.values()):
        return "its manifest names no files with their sums"
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if checksum(path) != expected:
            return f"{name} was altered or torn"
    unlisted = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {*sums, MANIFEST}
    if unlisted:
        return f"{min(unlisted)} is not in its manifest"
    return None


def checksum(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
