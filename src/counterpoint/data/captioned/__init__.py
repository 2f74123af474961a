"""Images with captions, and captions that are nearly right: for models that tell which caption an image has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.captioned.items import Captioned
    from counterpoint.data.captioned.load import load_captioned

__all__ = ["Captioned", "load_captioned"]

__getattr__ = lazy(__name__, items=("Captioned",), load=("load_captioned",))
