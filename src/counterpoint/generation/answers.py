"""Several sampled answers to each prompt, as token ids with their text. What rankings and best-of-n start from."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoint.data.language.answer import Answer
from counterpoint.generation.sampler import row_draws
from counterpoint.generation.samplers import Samples
from counterpoint.models.language.language import Prompt


def several_answers(
    sampler: Samples,
    prompts: Sequence[Prompt],
    count: int,
    *,
    seed: int,
    numbers: Sequence[int] | None = None,
) -> list[list[Answer]]:
    """Return for each prompt ``count`` answers.

    Args:
        sampler: the policy's, or a server's. prompts: P of them.
        count: N, answers per prompt.
        seed: with a prompt's number it decides that prompt's answers, whoever else is in the batch.
        numbers: the prompts' numbers in the data; 0, 1, ... when None.

    >>> from counterpoint.generation.sampler import Sampler
    >>> from counterpoint.generation.samplers import Own
    >>> from counterpoint.models.language.characters import tiny
    >>> answers = several_answers(Own(tiny(seed=0), Sampler(max_new_tokens=4)), ["1+1=", "2+2="], 3, seed=0)
    >>> [len(each) for each in answers]
    [3, 3]
    """
    numbers = range(len(prompts)) if numbers is None else numbers
    rows = [number * count + k for number in numbers for k in range(count)]
    draws = None if sampler.how.greedy else row_draws(seed, rows, sampler.how.max_new_tokens)
    drawn = sampler(prompts, count, draws)
    texts, ids, ended = sampler.model.texts(drawn), drawn.rows(), drawn.ended.tolist()
    flat = [Answer(ids=i, text=t, ended=e) for i, t, e in zip(ids, texts, ended)]
    return [flat[start : start + count] for start in range(0, len(flat), count)]
