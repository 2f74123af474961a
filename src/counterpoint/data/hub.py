"""A data set on the hub as a folder that every kind's loader reads: its tables, by split, of one configuration."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from counterpoint.bundled import hub
from counterpoint.bundled.cache import root
from counterpoint.data.tables import SUFFIXES, split_of
from counterpoint.errors import CounterpointError, nearest

PATTERNS = [*(f"*{suffix}" for suffix in SUFFIXES), "README.md"]
NO_ROWS = ("dataset_infos.json", "dataset_dict.json", "state.json")


def data(spec: str) -> Path | None:
    """The folder of a data set ``org/name[:config][@revision]``; None where the spec is no such name.

    Raises:
        CounterpointError: no such data set, revision or configuration, several configurations and none chosen, no tables.
    """
    name = hub.HubName.of(spec)
    if name is None:
        return None
    snapshot = hub.fetch(name, "dataset", PATTERNS)
    listed = _configurations(snapshot)
    if not listed:
        files = dict(_named_files(snapshot / name.config if name.config else snapshot))
    else:
        chosen = (
            name.config or next(iter(listed)) if len(listed) == 1 else name.config or _default(name, listed)
        )
        if chosen not in listed:
            raise CounterpointError(f"{name.name} has no configuration '{chosen}'; {nearest(chosen, listed)}")
        files = dict(_listed_files(snapshot, listed[chosen]))
    if not files:
        raise CounterpointError(
            f"{spec} holds no {', '.join(SUFFIXES)} file; give the files themselves as a folder"
        )
    return _linked(snapshot, files)


def _configurations(snapshot: Path) -> dict[str, Any]:
    """Configuration -> its data files, as the card's front matter lists them."""
    card = snapshot / "README.md"
    if not card.is_file():
        return {}
    from huggingface_hub.repocard import metadata_load

    listed = (metadata_load(card) or {}).get("configs") or []
    return {str(each["config_name"]): each.get("data_files") for each in listed if isinstance(each, Mapping)}


def _default(name: hub.HubName, listed: Mapping[str, Any]) -> str:
    if "default" in listed:
        return "default"
    raise CounterpointError(
        f"{name.name} has the configurations {', '.join(listed)}; choose one: --data {name.name}:{next(iter(listed))}"
    )


def _listed_files(snapshot: Path, given: Any) -> Iterator[tuple[str, Path]]:
    """(name by split, file) of what a configuration lists: patterns, or patterns by split."""
    entries = given if isinstance(given, list) else [given]
    for entry in entries:
        split = str(entry.get("split", "train")) if isinstance(entry, Mapping) else "train"
        patterns = entry["path"] if isinstance(entry, Mapping) else entry
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            for number, file in enumerate(sorted(snapshot.glob(str(pattern)))):
                if file.suffix.lower() in SUFFIXES and split_of(split) is not None:
                    yield f"{split_of(split)}-{len(pattern)}-{number:05d}{file.suffix.lower()}", file


def _named_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix.lower() in SUFFIXES and file.name not in NO_ROWS:
            yield file.name, file


def _linked(snapshot: Path, files: Mapping[str, Path]) -> Path:
    """A folder of links to the files, named after their splits; it appears whole."""
    described = "\n".join(f"{name} {file}" for name, file in sorted(files.items()))
    folder = root() / "hub" / hashlib.sha256(described.encode()).hexdigest()[:20]
    if not folder.is_dir():
        aside = folder.with_name(f".{folder.name}-{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for name, file in files.items():
            (aside / name).symlink_to(file.resolve())
        try:
            aside.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(aside, ignore_errors=True)
    return folder
