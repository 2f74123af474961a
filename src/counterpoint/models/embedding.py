"""Sentence embeddings from a transformers encoder: mean of the last hidden states, length one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from counterpoint.errors import MissingExtra
from counterpoint.models.model_folders import find

if TYPE_CHECKING:
    import numpy as np


@torch.no_grad()
def sentences(texts: Sequence[str], *, spec: str | Path = "all-minilm-l6-v2", size: int = 64) -> np.ndarray:
    """Return [N, d] float32 vectors of unit length.

    Args:
        texts: N sentences or short passages; what passes the encoder's length is cut, as its makers do.
        spec: an encoder's folder, or a bundled name.
        size: texts at a time.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    folder = find(spec)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder, local_files_only=True).eval()
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
