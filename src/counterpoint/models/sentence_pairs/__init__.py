"""Sentence encoders: a transformers encoder, how its states are pooled, and what stands before a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.models.sentence_pairs.encoder import SentenceEncoder, open_sentence_encoder

__all__ = ["SentenceEncoder", "open_sentence_encoder"]

__getattr__ = lazy(__name__, encoder=("SentenceEncoder", "open_sentence_encoder"))
