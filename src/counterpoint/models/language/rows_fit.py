"""Whether a model can read every row, before any step: its chat template takes the turns, its positions hold the tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from counterpoint.conversation import Completion, Prompt
from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Language
from counterpoint.models.language.rendering import Rendered

TOGETHER = 256
"""Rows that are tokenised at once; one by one only where some of these cannot be."""
Row = tuple[Prompt, Sequence[Completion]]
"""A prompt with its answers, if there are any."""


def check_rows(model: Language, split: str, rows: Iterable[Row]) -> None:
    """Tokenise every prompt with its answers.

    Args:
        model: the language model that will read them. split: name of the rows, for the message.
        rows: prompt and answers of each row.

    Raises:
        CounterpointError: the first row (counted from 1) that the template refuses or that passes the model's positions.
    """
    for number, (prompt, whole) in enumerate(lengths(model, split, rows), 1):
        if model.limit is not None and whole > model.limit:
            raise CounterpointError(
                f"{split}, row {number}: a prompt of {prompt} tokens and an answer of {whole - prompt} pass the model's "
                f"{model.limit} positions; shorten the row or leave it out, e.g. with --max-length {model.limit}"
            )


def lengths(model: Language, split: str, rows: Iterable[Row]) -> Iterator[tuple[int, int]]:
    """Of each row the tokens of the prompt, and of the prompt with its longest answer.

    Raises:
        CounterpointError: the first row (counted from 1) that the template refuses.
    """
    every = list(rows)
    for start in range(0, len(every), TOGETHER):
        part = every[start : start + TOGETHER]
        try:
            yield from _lengths(model, part)
        except CounterpointError:
            for number, row in enumerate(part, start + 1):
                try:
                    _lengths(model, [row])
                except CounterpointError as error:
                    raise CounterpointError(f"{split}, row {number}: {error}") from None
            raise


def _lengths(model: Language, rows: Sequence[Row]) -> list[tuple[int, int]]:
    flat = [(prompt, answer) for prompt, answers in rows for answer in answers if answer]
    rendered = iter(model.rendered(flat))
    bare = iter(model.prompt_ids([prompt for prompt, answers in rows if not any(answers)]))
    result = []
    for _, answers in rows:
        if any(answers):
            own: list[Rendered] = [next(rendered) for answer in answers if answer]
            longest = max(own, key=lambda row: len(row.ids))
            result.append((longest.start, len(longest.ids)))
        else:
            alone = len(next(bare))
            result.append((alone, alone))
    return result
