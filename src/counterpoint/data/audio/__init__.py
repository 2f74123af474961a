"""Sound clips with labels: folders and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.audio.load import Audio, load_audio

__all__ = ["Audio", "load_audio"]

__getattr__ = lazy(__name__, load=("Audio", "load_audio"))
