"""What a run starts from, by content: digests of models and files, and relative paths seen from another folder. No torch.

A path is only a way to content: ``model`` and ``./model`` are the same, and another model in the same folder is another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from counterpoint.bundled.cache import root
from counterpoint.errors import CounterpointError

MODEL_FILES = ("config.json", "adapter_config.json", "modules.json", "model.safetensors")
TRAINING = (
    "optimizer.pt",
    "scheduler.pt",
    "scaler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "training_args.bin",
)
LARGE = 1 << 25
"""Bytes from which a file's digest is remembered on disk, so that a large model is read through once."""


def content(value: Any, parsed: bool = True) -> Any:
    """A digest in place of a path to a model folder or a file; other values, and nested ones, as they are.

    Args:
        value: plain data.
        parsed: JSON files of a model folder count by what they say, however they are laid out; False: by their bytes.

    >>> content({"size": 3, "name": "digits"})
    {'size': 3, 'name': 'digits'}
    """
    if isinstance(value, Mapping):
        return {name: content(item, parsed) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [content(item, parsed) for item in value]
    path = _path(value)
    return value if path is None else "sha256:" + digest(path, parsed)


def located(value: Any, folder: str) -> Any:
    """The same with paths that are relative to ``folder`` made absolute, where there is something."""
    if isinstance(value, Mapping):
        return {name: located(item, folder) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [located(item, folder) for item in value]
    if not isinstance(value, str) or not value or os.path.isabs(value):
        return value
    path = _path(os.path.join(folder, value), written=value)
    return value if path is None else str(path)


def located_data(spec: str, folder: str, names: Mapping[str, Any]) -> str:
    """The same for data, whose folders may hold anything: what bears a bundled name stays a name."""
    path = Path(folder) / spec
    return str(path) if data_path(str(path), names, written=spec) else spec


def data_path(spec: str, names: Mapping[str, Any], written: str | None = None) -> bool:
    """Whether data are given by a path: something is there, and no bundled data set has this name."""
    text = spec if written is None else written
    bundled_names = {name.split("?")[0].split(":")[0] for name in names}
    return bool(text) and text.split("?")[0].split(":")[0] not in bundled_names and Path(spec).exists()


def digest(path: Path, parsed: bool = True) -> str:
    """Sha256 of a file, or of all files of a model folder, and of the base model that an adapter names; ``parsed`` as in ``content``.

    Raises:
        CounterpointError: a file cannot be read.
    """
    if path.is_file():
        return _of_file(path)
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if not file.is_file() or any(part.startswith(".") for part in name.parts) or _left_over(file):
            continue
        own = _of_json(file) if parsed and file.suffix == ".json" else None
        whole.update(f"{name.as_posix()} {own or _of_file(file)};".encode())
    if (base := _base(path)) is not None:
        whole.update(f"base {digest(base, parsed)};".encode())
    return whole.hexdigest()


def _path(value: Any, written: str | None = None) -> Path | None:
    """The file or model folder that a value names; None where it may as well be a name."""
    if not isinstance(value, str) or not value or len(value) > 1000 or "\n" in value:
        return None
    path, text = Path(value).expanduser(), written or value
    try:
        if path.is_dir():
            return path if any((path / name).exists() for name in MODEL_FILES) else None
        looks = os.sep in text or bool(Path(text).suffix)
        return path if looks and path.is_file() else None
    except (OSError, ValueError):
        return None


def _left_over(file: Path) -> bool:
    """Whether a file beside a model is what its training left there, which no model is opened from."""
    return (
        file.suffix in (".md", ".log") or file.name in TRAINING or file.name.startswith("events.out.tfevents")
    )


def _base(path: Path) -> Path | None:
    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        base = Path(config["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return base if base.is_dir() and base.resolve() != path.resolve() else None


def _of_json(path: Path) -> str | None:
    """The digest of what a JSON file says, without regard to blanks and the order of names; None where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    except (OSError, ValueError, RecursionError):
        return None


def _of_file(path: Path) -> str:
    try:
        state = path.stat()
        return _remembered(
            str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino
        )
    except OSError as error:
        raise CounterpointError(
            f"{path} cannot be read ({error.strerror}); it is part of what a run starts from"
        ) from None


@cache
def _remembered(path: str, size: int, *times: int) -> str:
    note = None
    if size >= LARGE:
        mark = hashlib.sha256(f"{path} {size} {times}".encode()).hexdigest()[:32]
        note = root() / "digests" / mark
        if note.is_file() and len(digest := note.read_text(encoding="utf-8").strip()) == 64:
            return digest
    with Path(path).open("rb") as file:
        result = hashlib.file_digest(file, "sha256").hexdigest()
    if note is not None:
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            aside = note.with_name(f"{note.name}.{os.getpid()}")
            aside.write_text(result, encoding="utf-8")
            aside.replace(note)
        except OSError:
            pass  # a cache that cannot be written costs time only
    return result
