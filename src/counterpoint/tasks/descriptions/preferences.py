"""Preferences: tables of a chosen and a rejected completion, or of completions marked good or bad."""

from __future__ import annotations

from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample


def file(look: FileSample) -> bool:
    """Whether a table holds pairs or marked completions."""
    return look.has("chosen", "rejected") or look.has("completion", "label")


DESCRIPTION = Description(
    kind="preferences",
    looks="a table with `chosen` and `rejected`, or with `completion` and `label`",
    loaders={"": "counterpoint.data.language.preferences:load"},
    bundled={
        "paired:reasoning-gym:basic_arithmetic?size=1000": "sums: the right answer against another sum's",
        "paired:worked-sums": "sums worked out digit by digit, against another sum's working",
    },
    file=file,
)
