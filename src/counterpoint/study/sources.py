"""What a run starts from, by content: digests of models and files, and relative paths seen from another folder. No torch.

A path is only a way to content: ``model`` and ``./model`` are the same, and another model in the same folder is another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from counterpoint.bundled.cache import root
from counterpoint.errors import CounterpointError

FORM = 4
"""Of the identity in run.json. 4: what stands in ``scored:FOLDER`` or ``FILE.py:NAME``, pipelines of diffusers and linked folders
count by content, too; 3 did not know these, 2 counted the bytes of a model's JSON files, 1 (nameless) had paths."""
MODEL_FILES = ("config.json", "adapter_config.json", "modules.json", "model.safetensors", "model_index.json")
PREFIXES = (
    *("scored", "rated", "compared", "anchored", "critic", "file"),
    *("metamath", "coq", "lean", "rewriting"),
)
"""What stands before a folder or a file in settings that name a judge, a writer of feedback or a prover."""
BENCHMARKS = ("mteb", "lm-eval", "beir")
"""What stands before a task's file, or a folder of texts with judgements."""
ANSWERED = "person"
"""Before a file that grows while a person answers: it is none of what a run starts from."""
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


def content(value: Any, form: int = FORM) -> Any:
    """A digest in place of a path to a model folder or a file; other values, and nested ones, as they are.

    Args:
        value: plain data.
        form: of the identity; from 3 on JSON files of a model folder count by what they say, however they are laid out.

    >>> content({"size": 3, "name": "digits", "judge": "verifier:math"})
    {'size': 3, 'name': 'digits', 'judge': 'verifier:math'}
    """
    if isinstance(value, Mapping):
        return {name: content(item, form) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [content(item, form) for item in value]
    before, text, after = _parts(value) if form > 3 else ("", value, "")
    if before == f"{ANSWERED}:":
        return before + Path(text).name
    path = _path(text, whole=before == "beir:")
    if path is None or (form < 4 and _is_pipeline(path)):
        return value
    return f"{before}sha256:{digest(path, form)}{after}"


def located(value: Any, folder: str) -> Any:
    """The same with paths that are relative to ``folder`` made absolute, where there is something."""
    if isinstance(value, Mapping):
        return {name: located(item, folder) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [located(item, folder) for item in value]
    before, text, after = _parts(value)
    if not isinstance(text, str) or not text or os.path.isabs(text):
        return value
    if before == f"{ANSWERED}:":  # it may not be there yet
        return before + os.path.join(folder, text)
    path = _path(os.path.join(folder, text), written=text, whole=before == "beir:")
    return value if path is None else f"{before}{path}{after}"


def located_data(spec: str, folder: str, names: Mapping[str, Any]) -> str:
    """The same for data, whose folders may hold anything: what bears a bundled name stays a name."""
    path = Path(folder) / spec
    return str(path) if data_path(str(path), names, written=spec) else spec


def data_path(spec: str, names: Mapping[str, Any], written: str | None = None) -> bool:
    """Whether data are given by a path: something is there, and no bundled data set has this name."""
    text = spec if written is None else written
    bundled_names = {name.split("?")[0].split(":")[0] for name in names}
    return bool(text) and text.split("?")[0].split(":")[0] not in bundled_names and Path(spec).exists()


def digest(path: Path, form: int = FORM) -> str:
    """Sha256 of a file, or of all files of a model folder, and of the base model that an adapter names; ``form`` as in ``content``.

    Raises:
        CounterpointError: a file cannot be read.
    """
    if path.is_file():
        return _of_file(path)
    whole = hashlib.sha256()
    for file in sorted(_inside(path) if form > 3 else path.rglob("*")):
        name = file.relative_to(path)
        if not file.is_file() or any(part.startswith(".") for part in name.parts) or _left_over(file):
            continue
        own = _of_json(file) if form > 2 and file.suffix == ".json" else None
        whole.update(f"{name.as_posix()} {own or _of_file(file)};".encode())
    if (base := _base(path)) is not None:
        whole.update(f"base {digest(base, form)};".encode())
    return whole.hexdigest()


def _parts(value: Any) -> tuple[str, Any, str]:
    """What stands before a path, the path, and what follows it: of ``scored:FOLDER``, ``FILE.py:NAME`` or a path alone.

    >>> _parts("scored:a/model"), _parts("rewards.py:short"), _parts("a/model"), _parts("mteb:own.py:Letters")
    (('scored:', 'a/model', ''), ('', 'rewards.py', ':short'), ('', 'a/model', ''), ('mteb:', 'own.py', ':Letters'))
    """
    if not isinstance(value, str):
        return "", value, ""
    name, colon, rest = value.partition(":")
    if colon and rest and name in (*PREFIXES, ANSWERED):
        return f"{name}:", rest, ""
    if colon and rest and name in BENCHMARKS:
        return f"{name}:", *_parts(rest)[1:]
    source, colon, name = value.rpartition(":")
    return ("", source, f":{name}") if source.endswith(".py") and name else ("", value, "")


def _inside(folder: Path) -> Iterator[Path]:
    """The files below a folder, through links, too; what links back is not entered again."""
    entered: set[str] = set()
    for here, below, files in os.walk(folder, followlinks=True):
        entered.add(os.path.realpath(here))
        below[:] = [
            name for name in sorted(below) if os.path.realpath(os.path.join(here, name)) not in entered
        ]
        yield from (Path(here, name) for name in files)


def _is_pipeline(path: Path) -> bool:
    """Whether a folder is known for a model's by the file of a diffusers pipeline alone."""
    *others, _ = MODEL_FILES
    return path.is_dir() and not any((path / name).exists() for name in others)


def _path(value: Any, written: str | None = None, whole: bool = False) -> Path | None:
    """The file or model folder that a value names; None where it may as well be a name.

    Args:
        value: plain data. written: as it was written, where ``value`` is that from elsewhere. whole: any folder counts.
    """
    if not isinstance(value, str) or not value or len(value) > 1000 or "\n" in value:
        return None
    path, text = Path(value).expanduser(), written or value
    try:
        if path.is_dir():
            return path if whole or any((path / name).exists() for name in MODEL_FILES) else None
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
