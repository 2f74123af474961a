"""A teacher's answers to problems, written once: on their references, or on completions that the student as given samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.kernels.scores import Scores, Sparse
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import Tokens
from counterpoint.teachers.answering import Teacher
from counterpoint.teachers.store_files import META, read_sealed
from counterpoint.teachers.store_writer import Sampling, identity, write
from counterpoint.teachers.stored import Stored

SHARD = 64
"""Problems of one file."""


def store_problems(
    folder: Path | str,
    teacher: Teacher[Scores | Sparse],
    model: Language,
    problems: Sequence[Problem],
    *,
    sampler: Sampler | None = None,
    draws: int = 50,
    temperature: float = 1.0,
    seed: int = 0,
    by: str = "",
) -> Stored:
    """Write down what a teacher makes of every problem; finished files of an interrupted writer are kept.

    Args:
        folder: the store.
        teacher: answers problems, as ``Hinted`` does.
        model: the student, whose tokens everything is in.
        problems: N of them; their positions are the rows.
        sampler: how the student writes the completions; None takes the references.
        draws, temperature, seed, by: see ``teachers.store_writer.write``.
    """
    who = "" if sampler is None else json.dumps([asdict(sampler), seed, identity(model)])

    def prompts_of(rows: Sequence[Problem]) -> Tokens:
        return model.prompts([row.prompt for row in rows])

    def prompt_ids(rows: Sequence[Problem]) -> list[list[int]]:
        """As the student will read them: before a reference, a prompt ends where the whole text's tokens let it."""
        if sampler is not None:
            return prompts_of(rows).rows()
        return model.rows([row.prompt for row in rows], [row.completion for row in rows])[0].rows()

    def sampled(rows: Sequence[Problem], index: Tensor, how: Sampler) -> Tokens:
        return how(model, prompts_of(rows), row_draws(seed, index, how.max_new_tokens))

    def shards() -> Iterator[tuple[list[Problem], Tokens | Sampling, Tensor]]:
        for start in range(0, len(problems), SHARD):
            rows = list(problems[start : start + SHARD])
            index = torch.arange(start, start + len(rows))
            if sampler is None:
                _, completions = model.rows([row.prompt for row in rows], [row.completion for row in rows])
                yield rows, completions, index
            else:
                yield rows, Sampling(who, lambda r=rows, i=index, s=sampler: sampled(r, i, s)), index  # type: ignore[misc]

    return write(
        folder,
        teacher,
        shards(),
        draws=draws,
        temperature=temperature,
        seed=seed,
        vocabulary=model.tokenizer.get_vocab(),
        prompt_ids=prompt_ids,
        by=by,
    )


def opened(folder: Path | str) -> Stored | None:
    """A finished store of a teacher with a name, which needs no live one; None where there is none.

    Raises:
        CounterpointError: it was altered.
    """
    path = Path(folder) / META
    return Stored(folder) if path.exists() and read_sealed(path).get("by") else None


def rows_of(
    stored: Stored, model: Language, problems: Sequence[Problem], index: Tensor
) -> tuple[Tokens, Tokens]:
    """Prompts and completions of a batch, as they were when the store was written.

    Raises:
        CounterpointError: a prompt or a completion is another now.
    """
    if stored.sampled:
        prompts = model.prompts([row.prompt for row in problems])
        completions = stored.completions(index).to(model.device)
    else:
        prompts, completions = model.rows(
            [row.prompt for row in problems], [row.completion for row in problems]
        )
    stored.require_prompts(index, prompts)
    return prompts, completions


def require_temperature(stored: Stored, temperature: float, method: str) -> None:
    """See that a store was written at the temperature of a method's divergence.

    Raises:
        CounterpointError: it was not.
    """
    there = stored.meta["temperature"]
    if there != temperature:
        raise CounterpointError(
            f"{method}: the divergence is at temperature {temperature:g}, and {stored.folder} was written at {there:g}; give the "
            f"method that temperature, or write the store with --temperature {temperature:g}"
        )


def stored_teacher(
    stage: Callable[[str, Callable[[], str]], str],
    folder: str,
    live: Callable[[], tuple[Teacher[Scores | Sparse], Language]],
    model: Language,
    problems: Sequence[Problem],
    *,
    method: str,
    temperature: float,
    sampler: Sampler | None = None,
) -> Stored:
    """The store that a person named, written now where it is not finished.

    What is stored are answers about completions that do not change: the data's references, or those that the student wrote before
    its training. A teacher that follows the student, or is shown what only this step knows, cannot be stored.

    Args:
        stage: the run's, which makes a result once.
        folder: the store. One that ``counterpoint store-teacher`` wrote is read as it is; another must be this live teacher's.
        live: makes the teacher, and the student that samples; not called for a store with a teacher's name.
        model: the student before its training.
        method: its key, for messages.
        temperature: of the divergence, and of what is stored.
        sampler: how the student writes the completions; None takes the references.

    Raises:
        CounterpointError: another teacher's store, other data, another temperature, or another vocabulary.
    """

    def make() -> str:
        if opened(folder) is None:
            teacher, student = live()
            # Seed 0 whatever the run's: runs of several seeds read one store.
            store_problems(folder, teacher, student, problems, sampler=sampler, temperature=temperature)
        return folder

    stage("store", make)
    stored = Stored(folder)
    stored.require_vocabulary(model.tokenizer.get_vocab())
    require_temperature(stored, temperature, method)
    return stored
