"""Preferences: tables of a chosen and a rejected completion, of completions marked good or bad, or of several, ranked."""

from __future__ import annotations

from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample


def file(look: FileSample) -> bool:
    """Whether a table holds pairs, marked completions or rankings."""
    return (
        look.has("chosen", "rejected") or look.has("completion", "label") or look.has("prompt", "completions")
    )


DESCRIPTION = Description(
    kind="preferences",
    looks="a table with `chosen` and `rejected`, with `completion` and `label`, or with `prompt` and `completions`",
    loaders={"": "counterpoint.data.language.preferences:load"},
    bundled={
        "paired:reasoning-gym:basic_arithmetic?size=1000": "sums: the right answer against another sum's",
        "described-things": "descriptions of things in words, with facts left out or wrong; options size, flipped (share of labels), seed",
        "paired:worked-sums": "sums worked out digit by digit, against another sum's working",
    },
    file=file,
    name=lambda given: given.split("?")[0] == "described-things",
    inputs=("prompt",),
)
