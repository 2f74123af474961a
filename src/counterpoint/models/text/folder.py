"""Text models as folders: the encoder's own files, and a classifier's head in ``head/``. Also encoders made from nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.models.folders import Folders, configuration
from counterpoint.models.text.encoder import LinearHead, TextClassifier
from counterpoint.models.text.match_head import MatchHead
from counterpoint.models.text.tfidf import Tfidf
from counterpoint.models.text.transformer import open_transformer
from counterpoint.models.text.words import WordEncoder

HEADS: dict[str, Callable[[Path], nn.Module]] = {
    "LinearHead": LinearHead.from_pretrained,
    "MatchHead": MatchHead.from_pretrained,
}
"""How each kind of head is read back, by its ``architecture``."""
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
    FOLDERS.save(model, folder)


def load(folder: Path) -> nn.Module:
    """Open what ``save`` wrote, or a transformers folder."""
    return FOLDERS.open(folder)


def fresh_words(vocabulary: Sequence[str], kernel: int, seed: int, **options: Any) -> WordEncoder:
    """A word encoder whose weights are drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WordEncoder(list(vocabulary), kernel=kernel, **options)


def _encoder(folder: Path) -> nn.Module:
    return ENCODERS.get(_architecture(folder), open_transformer)(folder)


def _classifier(folder: Path) -> TextClassifier:
    name = _architecture(folder / "head")
    if name not in HEADS:
        raise CounterpointError(
            f"{folder / 'head'} holds a head of kind '{name}'; known are {', '.join(HEADS)}"
        )
    return TextClassifier(_encoder(folder), HEADS[name](folder / "head"))


def _architecture(folder: Path) -> str:
    """The class in config.json; older folders have a kind.json beside it."""
    note = folder / "kind.json"
    stated = configuration(folder).get("architecture")
    return str(
        stated or (json.loads(note.read_text(encoding="utf-8")).get("kind", "") if note.exists() else "")
    )


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    if (folder / "head").is_dir() and _architecture(folder / "head") in HEADS:
        return "TextClassifier"
    return "TransformerText" if "model_type" in content else _architecture(folder)


FOLDERS = Folders(
    kind="text",
    openers={"TextClassifier": _classifier, "TransformerText": open_transformer, **ENCODERS},
    unstated=_unstated,
    foreign=("TransformerText",),
)
