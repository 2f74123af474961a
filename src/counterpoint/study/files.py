"""Small files that exist whole or not at all. Knows JSON and text; loads no torch."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def disk(target: Path) -> Iterator[None]:
    """Turn what the operating system says about a path that cannot be written into a message that helps.

    Raises:
        CounterpointError: the disk is full, the quota is used up, or the place is read-only or forbidden.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise CounterpointError(
                f"no space left to write {target}; what was saved before is whole: free some space and run the same "
                "command"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOENT):
            raise CounterpointError(
                f"{target} cannot be written ({error.strerror}); give a folder you may write to"
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise CounterpointError(
                f"{target} cannot be made: a file stands where a folder should be; choose another place"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a file aside, sync it and rename it into place."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with disk(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; figures that are not numbers become null."""
    write_text(path, json.dumps(finite(value), indent=1, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON, or say which file is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CounterpointError(
            f"there is no {path.name} in {path.parent}; was it written by counterpoint?"
        ) from None
    except (ValueError, UnicodeDecodeError):
        raise CounterpointError(
            f"{path} is damaged: it is no JSON; remove it and run the command again"
        ) from None


def read_object(path: Path, *names: str) -> dict[str, Any]:
    """Read a JSON object that has these names, or say which file is damaged."""
    content = read_json(path)
    missing = [name for name in names if not isinstance(content, dict) or name not in content]
    if missing or not isinstance(content, dict):
        raise CounterpointError(
            f"{path} is damaged: expected an object"
            + (f" with '{missing[0]}'" if missing else "")
            + "; put it back, or choose another --out"
        )
    return content


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object with a digest of itself; figures that are not numbers become null before it is taken."""
    plain = json.loads(json.dumps(finite(dict(values)), default=str))
    write_json(path, plain | {"seal": _seal(plain)})


def read_sealed(path: Path, *names: str) -> dict[str, Any]:
    """Read what ``write_sealed`` wrote, without the seal; files of former versions have none.

    Raises:
        CounterpointError: it was altered, or is no object with these names.
    """
    stored = read_object(path, *names)
    seal = stored.pop("seal", None)
    if seal is not None and seal != _seal(stored):
        raise CounterpointError(
            f"{path} was altered since it was written; put it back, or choose another --out"
        )
    return stored


def _seal(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@contextmanager
def shaped(path: Path) -> Iterator[None]:
    """Turn what a wrongly shaped file does to its reader into one line that names the file."""
    try:
        yield
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:100]
        raise CounterpointError(
            f"{path} is damaged: it has another shape than counterpoint writes ({reason})"
        ) from None


def finite(value: Any) -> Any:
    """Replace figures that are not numbers by None, all through nested plain data."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
