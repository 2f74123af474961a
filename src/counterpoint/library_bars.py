"""Progress bars of other libraries, hidden: a run shows its own, and output that is no terminal is to hold lines. No torch."""

from __future__ import annotations

import importlib
from typing import Literal

Library = Literal["transformers", "diffusers", "datasets"]


def hide(*libraries: Library) -> None:
    """Turn the bars of installed libraries off in this process: of loading weights, of writing shards, of reading Arrow files.

    Call it where a library is about to open or write something; it costs nothing a second time.
    """
    for library in libraries:
        if library == "datasets":
            importlib.import_module("datasets").disable_progress_bars()
        else:
            importlib.import_module(f"{library}.utils.logging").disable_progress_bar()
