"""The setting ``store`` of methods that distil: a teacher's answers are written down once, and read in its place.

What is stored are answers about completions that do not change: the data's references, or those that the student wrote before
its training. A teacher that follows the student, or is shown what only this step knows, cannot be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from counterpoint.data.language.problem import Problem
from counterpoint.generation.sampler import Sampler
from counterpoint.kernels.scores import Scores, Sparse
from counterpoint.models.language.language import Language
from counterpoint.teachers.answering import Teacher
from counterpoint.teachers.problem_store import opened, require_temperature, store_problems
from counterpoint.teachers.stored import Stored
from counterpoint.training import Run


def stored_teacher(
    run: Run,
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

    Args:
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

    run.stage("store", make)
    stored = Stored(folder)
    stored.require_vocabulary(model.tokenizer.get_vocab())
    require_temperature(stored, temperature, method)
    return stored
