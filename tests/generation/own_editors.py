"""Editors of pictures as a person would bring them, for tests of priors."""

from __future__ import annotations

import sys
from typing import Any

from PIL import Image, ImageOps


def paint(picture: Any, prompt: str) -> Any:
    """The negative of a picture."""
    return ImageOps.invert(picture)


def wrong(picture: Any, prompt: str) -> Any:
    """What is no picture."""
    return [1.0, 2.0]


def fails(picture: Any, prompt: str) -> Any:
    """An editor with an error of its own."""
    raise ValueError("no paint left")


if __name__ == "__main__":  # as a command: INPUT OUTPUT PROMPT
    if sys.argv[3] == "nothing":
        sys.exit("no paint left")
    with Image.open(sys.argv[1]) as opened:
        paint(opened, sys.argv[3]).save(sys.argv[2])
