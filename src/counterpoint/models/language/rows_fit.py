"""Whether a model can read every row, before any step: its chat template takes the turns, its positions hold the tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from counterpoint.conversation import Completion, Prompt, Text, replies, turns
from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Language
from counterpoint.models.language.rendering import Rendered
from counterpoint.models.language.templates import carries_template

TOGETHER = 256
"""Rows that are tokenised at once; one by one only where some of these cannot be."""
Row = tuple[Prompt, Sequence[Completion]]
"""A prompt with its answers, if there are any."""


class Length(NamedTuple):
    """Tokens of a prompt, of the prompt with its longest answer, and how many stand for what the tokenizer does not know.

    What a chat template writes around the row is not counted among the last.
    """

    prompt: int
    whole: int
    unknown: int


def check_rows(model: Language, split: str, rows: Iterable[Row], origins: Sequence[str] = ()) -> int:
    """Tokenise every prompt with its answers.

    Args:
        model: the language model that will read them. split: name of the rows, for the message.
        rows: prompt and answers of each row. origins: of each row its file and number there, or "".

    Returns:
        How many rows hold something that the tokenizer does not know.

    Raises:
        CounterpointError: the first row that the template refuses or that passes the model's positions.
    """
    odd = 0
    for at, (prompt, whole, unknown) in enumerate(lengths(model, split, rows, origins)):
        odd += bool(unknown)
        if model.limit is not None and whole > model.limit:
            raise CounterpointError(
                f"{_named(split, origins, at)}: a prompt of {prompt} tokens and an answer of {whole - prompt} pass the model's "
                f"{model.limit} positions; shorten the row or leave it out, e.g. with --max-length {model.limit}"
            )
    return odd


def lengths(
    model: Language, split: str, rows: Iterable[Row], origins: Sequence[str] = ()
) -> Iterator[Length]:
    """Of each row its tokens.

    Raises:
        CounterpointError: the first row that the template refuses, by its origin, or counted from 1.
    """
    every, start = iter(rows), 0
    while part := list(islice(every, TOGETHER)):
        try:
            yield from _lengths(model, part)
        except CounterpointError:
            for at, row in enumerate(part, start):
                try:
                    _lengths(model, [row])
                except CounterpointError as error:
                    raise CounterpointError(f"{_named(split, origins, at)}: {error}") from None
            raise
        start += len(part)


def typed_tokens(
    model: Language, split: str, rows: Iterable[Row], origins: Sequence[str] = ()
) -> tuple[int, str, str] | None:
    """Special tokens of the model that stand in what people wrote in messages, where the template alone should write them.

    Text that is read as it stands, and what ends an answer, is left out.

    Returns:
        How many rows hold one, the first of them by its origin, and its token; None where there are none.
    """
    tokenizer = model.tokenizer
    special = {
        str(token)
        for token in tokenizer.added_tokens_decoder.values()
        if token.special and len(str(token)) > 2
    }
    if not special or not tokenizer.chat_template:
        return None
    typed = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))))
    ends = tuple(special)
    count, first = 0, None
    for at, (prompt, answers) in enumerate(rows):
        if isinstance(prompt, Text) or (isinstance(prompt, str) and carries_template(tokenizer, prompt)):
            continue
        written = [text for message in turns(prompt) for text in _texts(message["content"])]
        for answer in answers:
            if isinstance(answer, str):
                while answer.rstrip().endswith(ends):
                    answer = _without_end(answer, ends)
                written.append(answer)
            else:
                written += [text for message in replies(answer) for text in _texts(message["content"])]
        match = next(filter(None, map(typed.search, written)), None)
        if match is not None:
            count += 1
            first = first or (_named(split, origins, at), match.group())
    return None if first is None else (count, *first)


def _texts(content: Any) -> list[str]:
    """The text of a message's content, which may be parts."""
    if isinstance(content, list):
        return [part["text"] for part in content if isinstance(part.get("text"), str)]
    return [content] if isinstance(content, str) else []


def _without_end(text: str, ends: Sequence[str]) -> str:
    bare = text.rstrip()
    return bare.removesuffix(next(end for end in ends if bare.endswith(end)))


def _named(split: str, origins: Sequence[str], at: int) -> str:
    """A row's file and number there, else its number in its split."""
    return (origins[at] if at < len(origins) else "") or f"{split}, row {at + 1}"


def _lengths(model: Language, rows: Sequence[Row]) -> list[Length]:
    words = model.tokenizer
    unknown = words.unk_token_id
    if unknown in (
        words.eos_token_id,
        words.bos_token_id,
        words.pad_token_id,
    ):  # as GPT-2's, which knows every byte
        unknown = None

    def count(ids: Sequence[int], prompt: Prompt, answer: Completion = "") -> int:
        if unknown is None or unknown not in ids:
            return 0
        own = [*turns(prompt), *replies(answer)]
        texts = [text for message in own for text in _texts(message["content"])]
        return sum(words(text, add_special_tokens=False)["input_ids"].count(unknown) for text in texts)

    flat = [(prompt, answer) for prompt, answers in rows for answer in answers if answer]
    rendered = iter(model.rendered(flat))
    bare = iter(model.prompt_ids([prompt for prompt, answers in rows if not any(answers)]))
    result = []
    for prompt, answers in rows:
        if any(answers):
            own: list[tuple[Rendered, Completion]] = [
                (next(rendered), answer) for answer in answers if answer
            ]
            longest = max((row for row, _ in own), key=lambda row: len(row.ids))
            odd = max(count(row.ids, prompt, answer) for row, answer in own)
            result.append(Length(longest.start, len(longest.ids), odd))
        else:
            alone = next(bare)
            result.append(Length(len(alone), len(alone), count(alone, prompt)))
    return result
