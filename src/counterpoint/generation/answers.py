"""Several sampled answers to each prompt, as token ids with their text. What rankings and best-of-n start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.models.language.language import Language, Prompt


class Answer(TypedDict):
    """One sampled answer; plain data, so that a durable stage can keep it.

    ``ids`` are exactly the sampled tokens, the end token included where it was reached: what is judged and trained on is
    what was sampled, whatever decoding and encoding again would make of it.
    """

    ids: list[int]
    text: str
    ended: bool


def several_answers(
    model: Language,
    prompts: Sequence[Prompt],
    count: int,
    sampler: Sampler,
    *,
    seed: int,
    numbers: Sequence[int] | None = None,
) -> list[list[Answer]]:
    """Return for each prompt ``count`` answers.

    Args:
        model: the policy. prompts: P of them.
        count: N, answers per prompt. sampler: how to draw.
        seed: with a prompt's number it decides that prompt's answers, whoever else is in the batch.
        numbers: the prompts' numbers in the data; 0, 1, ... when None.

    >>> from counterpoint.models.language.characters import tiny
    >>> found = several_answers(tiny(seed=0), ["1+1=", "2+2="], 3, Sampler(max_new_tokens=4), seed=0)
    >>> [len(each) for each in found]
    [3, 3]
    """
    numbers = range(len(prompts)) if numbers is None else numbers
    rows = [number * count + k for number in numbers for k in range(count)]
    draws = None if sampler.greedy else row_draws(seed, rows, sampler.max_new_tokens)
    drawn = sampler(model, model.prompts([prompt for prompt in prompts for _ in range(count)]), draws)
    texts, ids, ended = model.texts(drawn), drawn.rows(), drawn.ended.tolist()
    flat = [Answer(ids=i, text=t, ended=e) for i, t, e in zip(ids, texts, ended)]
    return [flat[start : start + count] for start in range(0, len(flat), count)]
