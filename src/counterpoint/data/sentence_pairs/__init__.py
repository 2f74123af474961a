"""Pairs, triplets and scored pairs of sentences: what sentence encoders learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.sentence_pairs.items import PairRows, SentencePairs
    from counterpoint.data.sentence_pairs.load import load_sentence_pairs

__all__ = ["PairRows", "SentencePairs", "load_sentence_pairs"]

__getattr__ = lazy(__name__, items=("PairRows", "SentencePairs"), load=("load_sentence_pairs",))
