"""Causal language models: scoring, adapters, shared prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.models.language.adapters import LoRA
    from counterpoint.models.language.characters import tiny
    from counterpoint.models.language.language import Language, load

__all__ = ["Language", "LoRA", "load", "tiny"]

__getattr__ = lazy(__name__, language=("Language", "load"), adapters=("LoRA",), characters=("tiny",))
