"""Whether a model can read every row, before any step: its chat template takes the turns, its positions hold the tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Language, Prompt

TOGETHER = 256
"""Rows that are tokenised at once; one by one only where these do not fit."""


def check_rows(model: Language, split: str, rows: Iterable[tuple[Prompt, Sequence[str]]]) -> None:
    """Tokenise every prompt with its longest answer.

    Args:
        model: the language model that will read them. split: name of the rows, for the message.
        rows: prompt and answers of each row.

    Raises:
        CounterpointError: the first row (counted from 1) that the template refuses or that passes the model's positions.
    """
    every = list(rows)
    for start in range(0, len(every), TOGETHER):
        part = every[start : start + TOGETHER]
        try:
            prompt, answer = _widths(model, part)
            fits = model.limit is None or prompt + answer <= model.limit
        except CounterpointError:
            fits = False
        for number, row in enumerate(() if fits else part, start + 1):
            _check(model, f"{split}, row {number}", row)


def _check(model: Language, where: str, row: tuple[Prompt, Sequence[str]]) -> None:
    try:
        prompt, answer = _widths(model, [row])
    except CounterpointError as error:
        raise CounterpointError(f"{where}: {error}") from None
    if model.limit is not None and prompt + answer > model.limit:
        raise CounterpointError(
            f"{where}: a prompt of {prompt} tokens and an answer of {answer} pass the model's "
            f"{model.limit} positions; shorten the row or leave it out, e.g. with the data option max_characters"
        )


def _widths(model: Language, rows: Sequence[tuple[Prompt, Sequence[str]]]) -> tuple[int, int]:
    """Tokens of the longest prompt and of the longest answer."""
    answers = [text for _, texts in rows for text in texts if text]
    return model.prompts([prompt for prompt, _ in rows]).width, model.completions(
        answers
    ).width if answers else 0
