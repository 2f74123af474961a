"""Problems: tables of prompts with references or answers, and generated tasks."""

from __future__ import annotations

from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample, is_number

SOLUTIONS = ("completion", "output", "response", "solution", "answer")
GENERATED = {
    "worked-sums": "sums of two numbers, each solved digit by digit; options size, digits, corrupt, seed",
    "backward-sums": "sums of two numbers, the digits of the result from the last to the first; same options",
    "second-largest": "the second largest of several digits, with rationales of a teacher who errs; options size, digits (how "
    "many), samples, wrong, seed",
    "rewritten-words": "words that become each other by four rules, digits + 2 steps apart; options size, digits, corrupt, seed",
    "next-letter": "which of ten letters follows; options size, corrupt, seed (at most 1000 in all)",
    "number-lines": "lines such as '3 + 4 =' that one number completes, with four worked lines as a hint; options size, seed; for a "
    "pretrained model, with --data-option format=text",
    "letter-pairs": "the letter of a pair by a fixed table, with the answer of a teacher who errs; options size, wrong, seed (at most "
    "3600 in all)",
    "worked-sorting": "letters to put in order, each solved by picking the smallest; options size, digits, corrupt, seed",
    "styled-letters": "letters repeated in capitals or not, and what a user who likes capitals writes then; options size, digits, seed",
    "bandit": "a context and one of a hundred actions, or length of them in a row, whose reward has a peak; options size, peak, length, seed",
    "hinted-sorting": "distinct letters to put in order, with all but the last two of the answer as a hint; options size, digits, seed",
}


def file(look: FileSample) -> bool:
    """Whether a table holds questions, whole conversations, or instructions with what answers them."""
    from counterpoint.data.language.messages import WHOLE
    from counterpoint.data.language.problem_rows import ALIASES

    if look.has_any(("question", "problem", "prompt")):
        return True
    talks = [row.get(name) for row in look.rows for name in WHOLE]
    if any(isinstance(talk, list) or (isinstance(talk, str) and talk.lstrip()[:2] == "[{") for talk in talks):
        return True
    asks = (row.get(name) for row in look.rows for name in ALIASES["prompt"])
    in_words = any(isinstance(cell, str) and cell.strip() and not is_number(cell) for cell in asks)
    return in_words and look.has_any(SOLUTIONS)


def name(given: str) -> bool:
    """Whether a name is of a generated task, with or without options."""
    return given.split("?")[0] in GENERATED


DESCRIPTION = Description(
    kind="problems",
    looks="a table with `prompt`, `question` or `problem`, with `messages` or `conversations`, or with `instruction`, `query` or `input` in words and `output`, `response`, `solution` or `answer`",
    loaders={"": "counterpoint.data.language.problems:load"},
    bundled={
        "reasoning-gym:basic_arithmetic?size=500": "any of the 106 procedural tasks of reasoning-gym, with its scorer",
        **GENERATED,
    },
    file=file,
    name=name,
    inputs=("prompt",),
)
