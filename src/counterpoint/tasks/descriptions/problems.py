"""Problems: tables of prompts with references or answers, and generated tasks."""

from __future__ import annotations

from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample

SOLUTIONS = ("completion", "output", "response", "solution", "answer")
GENERATED = {
    "worked-sums": "sums of two numbers, each solved digit by digit; options size, digits, corrupt, seed",
    "backward-sums": "sums of two numbers, the digits of the result from the last to the first; same options",
    "worked-sorting": "letters to put in order, each solved by picking the smallest; options size, digits, corrupt, seed",
    "hinted-sorting": "distinct letters to put in order, with all but the last two of the answer as a hint; options size, digits, seed",
}


def file(look: FileSample) -> bool:
    """Whether a table holds questions, or instructions with what answers them."""
    asks = look.has_any(("question", "problem", "prompt", "messages", "conversations"))
    return asks or (look.has("instruction") and look.has_any(SOLUTIONS))


def name(given: str) -> bool:
    """Whether a name is of a generated task, with or without options."""
    return given.split("?")[0] in GENERATED


DESCRIPTION = Description(
    kind="problems",
    loaders={"": "counterpoint.data.language.problems:load"},
    bundled={
        "reasoning-gym:basic_arithmetic?size=500": "any of the 106 procedural tasks of reasoning-gym, with its scorer",
        **GENERATED,
    },
    file=file,
    name=name,
)
