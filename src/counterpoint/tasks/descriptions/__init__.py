"""What every kind of data looks like and brings along, one file a kind, read without torch.

A description recognises its kind by a first look (``tasks.sample``) and names the bundled data. ``recognise.kind_of``,
``counterpoint data list``, ``check`` and ``recommend`` read it here; ``tasks.<kind>`` holds the rest of the kind.
"""

from __future__ import annotations

import importlib

from counterpoint.tasks.descriptions.description import Description

ORDER = (
    "audio",
    "retrieval",
    "sentence-pairs",
    "preferences",
    "problems",
    "trajectories",
    "styles",
    "captioned",
    "images",
    "pictures",
    "interactions",
    "regression",
    "text",
    "environment",
)
"""Every kind. Of two that recognise the same file, the one that needs more columns comes first."""


def described(kind: str) -> Description:
    """The description of one of ``ORDER``.

    >>> described("images").recognises_name("digits")
    True
    """
    module = importlib.import_module(f"{__name__}.{kind.replace('-', '_')}")
    description: Description = module.DESCRIPTION
    return description
