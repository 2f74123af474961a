"""Sentence embeddings from a transformers encoder: mean of the last hidden states, length one."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock

from counterpoint.bundled.cache import root
from counterpoint.bundled.packages import sha256
from counterpoint.models.model_folders import find
from counterpoint.models.text.pretrained import open_encoder

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("counterpoint")


@torch.no_grad()
def sentences(texts: Sequence[str], *, spec: str | Path = "all-minilm-l6-v2") -> np.ndarray:
    """Return [N, d] float32 vectors of unit length.

    Args:
        texts: N sentences or short passages; what passes the encoder's length is cut, as its makers do.
        spec: an encoder's folder, or a bundled name.
        size: texts at a time.
    """
    size = 64
    encoder, tokenizer = open_encoder(find(spec))
    encoder.eval()
    parts = []
    for start in range(0, len(texts), size):
        given = tokenizer(
            list(texts[start : start + size]),
            padding=True,
            truncation=True,
            max_length=256,
            return_tensors="pt",
        )
        hidden_BLD = encoder(**given).last_hidden_state
        weights_BL1 = given["attention_mask"].unsqueeze(-1)
        parts.append((hidden_BLD * weights_BL1).sum(1) / weights_BL1.sum(1))
    return torch.nn.functional.normalize(torch.cat(parts), dim=-1).numpy()


def cached_sentence_vectors(texts: Sequence[str], spec: str | Path = "all-minilm-l6-v2") -> np.ndarray:
    """As ``sentences``, but computed once: the vectors stay in the cache, under the texts and the encoder's content.

    What was altered or torn there is computed anew.

    Returns:
        [N, d] float32; several processes that ask at once wait for the first.
    """
    import numpy as np

    folder = find(spec)
    digest = hashlib.sha256(folder.name.encode() if folder.parent == root() / "bundled" else _content(folder))
    digest.update(json.dumps(list(texts)).encode())
    stored = root() / "sentences" / f"{digest.hexdigest()[:24]}.npy"
    seal = stored.with_suffix(".sha256")
    stored.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(stored.with_suffix(".lock")):
        if not stored.exists() or not seal.exists() or seal.read_bytes() != sha256(stored).encode():
            log.info("%s: vectors of %d texts", spec, len(texts))
            partial = stored.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, sentences(texts, spec=spec))
            seal.write_text(
                sha256(partial)
            )  # before the vectors: a seal without them is no seal of older ones
            partial.replace(stored)
        return np.load(stored, allow_pickle=False)


def _content(folder: Path) -> bytes:
    """What an encoder's folder holds, as a hash."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return "".join(f"{file.relative_to(folder)}{sha256(file)}" for file in files).encode()
