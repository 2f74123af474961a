"""Text models as folders: the encoder's own files, and a classifier's head in ``head/``. Also encoders made from nothing."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.models.text.encoder import LinearHead, TextClassifier
from counterpoint.models.text.match_head import MatchHead
from counterpoint.models.text.tfidf import Tfidf
from counterpoint.models.text.transformer import open_transformer
from counterpoint.models.text.words import WordEncoder

HEADS: dict[str, Callable[[Path], nn.Module]] = {
    "LinearHead": LinearHead.from_pretrained,
    "MatchHead": MatchHead.from_pretrained,
}
"""How each kind of head is read back, by the name in ``head/kind.json``."""
ENCODERS: dict[str, Callable[[Path], nn.Module]] = {
    "WordEncoder": WordEncoder.from_pretrained,
    "Tfidf": Tfidf.from_pretrained,
}
"""Likewise for encoders of our own; anything else is a transformers folder."""


def save(model: nn.Module, folder: Path) -> None:
    """Write an encoder, or a classifier with its head.

    Raises:
        CounterpointError: a model without ``save_pretrained``.
    """
    encoder = model.encoder if isinstance(model, TextClassifier) else model
    for part in (encoder, *((model.head,) if isinstance(model, TextClassifier) else ())):
        if not hasattr(part, "save_pretrained"):
            raise CounterpointError(
                f"{type(part).__name__} has no save_pretrained; derive it from huggingface_hub.PyTorchModelHubMixin"
            )
    encoder.save_pretrained(folder)  # type: ignore[operator]
    if type(encoder).__name__ in ENCODERS:
        _note(folder, type(encoder).__name__)
    if isinstance(model, TextClassifier):
        model.head.save_pretrained(folder / "head")  # type: ignore[operator]
        _note(folder / "head", type(model.head).__name__)


def load(folder: Path) -> nn.Module:
    """Open what ``save`` wrote, or a transformers folder."""
    kind = _kind(folder)
    encoder: nn.Module = _read(ENCODERS[kind], folder) if kind in ENCODERS else open_transformer(folder)
    head = folder / "head"
    if not head.is_dir():
        return encoder
    name = _kind(head)
    if name not in HEADS:
        raise CounterpointError(f"{head} holds a head of kind '{name}'; known are {', '.join(HEADS)}")
    return TextClassifier(encoder, _read(HEADS[name], head))


def fresh_words(vocabulary: Sequence[str], kernel: int, seed: int, **options: Any) -> WordEncoder:
    """A word encoder whose weights are drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WordEncoder(list(vocabulary), kernel=kernel, **options)


def _read(open_: Callable[[Path], nn.Module], folder: Path) -> nn.Module:
    with contextlib.redirect_stdout(io.StringIO()):  # the hub's mixin prints that it loads
        return open_(folder)


def _note(folder: Path, kind: str) -> None:
    (folder / "kind.json").write_text(json.dumps({"kind": kind}) + "\n", encoding="utf-8")


def _kind(folder: Path) -> str:
    note = folder / "kind.json"
    return str(json.loads(note.read_text(encoding="utf-8")).get("kind", "")) if note.exists() else ""
