"""The files of a stored teacher: sealed JSON, shards with digests, and the vocabulary that their ids belong to.

Every file is put in place whole, and says by a digest what it held when it was written.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from counterpoint.errors import CounterpointError

SEAL = "counterpoint"  # one entry: safetensors writes several in any order
META = "store.json"
VOCABULARY = "vocabulary.json"


def read_shard(path: Path, digest: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A shard's arrays and what its header says.

    Args:
        digest: what it must hold; None asks only that it is whole.

    Raises:
        CounterpointError: it was altered, is torn, or is another.
    """
    try:
        with safe_open(path, "numpy") as file:
            header: dict[str, str] = json.loads((file.metadata() or {})[SEAL])
        part = load_file(path)
        whole = header["sha256"] == shard_digest(part) and len(header["question"]) == 64
        if not whole or (digest is not None and header["sha256"] != digest):
            raise ValueError("its content differs from what was written")
    except (KeyError, TypeError, OSError, ValueError, SafetensorError) as error:
        raise CounterpointError(
            f"{path} was altered, is torn, or has no digest ({' '.join(str(error).split())[:80]}); remove its folder and "
            "write the store again"
        ) from None
    return part, header


def write_shard(path: Path, part: Mapping[str, np.ndarray], question: str, vocabulary: str) -> str:
    """Write a shard aside and put it in place; returns its digest."""
    digest = shard_digest(part)
    aside = path.with_name(path.name + ".partial")
    header = {"sha256": digest, "question": question, "vocabulary": vocabulary}
    save_file(dict(part), aside, metadata={SEAL: json.dumps(header)})
    os.replace(aside, path)
    return digest


def shard_digest(part: Mapping[str, np.ndarray]) -> str:
    """Sha256 of a shard's arrays, names and shapes included."""
    whole = hashlib.sha256()
    for name in sorted(part):
        whole.update(f"{name} {part[name].shape} {part[name].dtype};".encode())
        whole.update(np.ascontiguousarray(part[name]).tobytes())
    return whole.hexdigest()


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with a digest of itself, aside and then in place."""
    aside = path.with_name(path.name + ".partial")
    aside.write_text(json.dumps(content | {"seal": _seal(content)}), encoding="utf-8")
    os.replace(aside, path)


def read_sealed(path: Path) -> dict[str, Any]:
    """What ``write_sealed`` wrote.

    Raises:
        CounterpointError: it was altered, or has no digest.
    """
    content: Any = None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        whole = content.pop("seal", None) == _seal(content)
    except (OSError, ValueError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise CounterpointError(
            f"{path} was altered, or is of a version that kept no digests; remove its folder and write the store again"
        )
    return dict(content)


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_vocabulary(folder: Path, vocabulary: Mapping[str, int]) -> str:
    """Write down which token every id is; returns the digest that settings and shards carry, "" for an empty mapping."""
    if not vocabulary:
        return ""
    content = {"tokens": dict(sorted(vocabulary.items(), key=lambda item: item[1]))}
    if not (folder / VOCABULARY).exists():
        write_sealed(folder / VOCABULARY, content)
    return _seal(content)


def read_vocabulary(folder: Path, digest: str) -> dict[str, int]:
    """The vocabulary of a store.

    Raises:
        CounterpointError: it is not the one that the store was written with.
    """
    content = read_sealed(folder / VOCABULARY)
    if _seal(content) != digest:
        raise CounterpointError(
            f"{folder / VOCABULARY} is not the vocabulary that the store was written with; remove the folder and write the store again"
        )
    return dict(content["tokens"])


def to_bytes(word: np.ndarray) -> np.ndarray:
    """Words [n] of at most 24 bits as [n, 3] bytes, the low one first."""
    return np.stack([word & 255, word >> 8 & 255, word >> 16], 1).astype(np.uint8)


def words(three: np.ndarray) -> np.ndarray:
    """[..., 3] bytes as words [...]."""
    wide = three.astype(np.int64)
    return wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16


def check(ids: Sequence[int]) -> int:
    """A sum by which a row of ids is recognised."""
    return zlib.crc32(np.asarray(ids, dtype=np.int64).tobytes())
