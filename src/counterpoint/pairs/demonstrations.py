"""Demonstrations in context: which other problems a teacher is shown, and how a prompt with a demonstration is worded.

A right demonstration is the problem's own reference; auxiliary contexts hold other problems' references, drawn at random
or the nearest ones; a wrong demonstration is one that does not solve the problem. B rows, K contexts, N problems.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from counterpoint.conversation import Prompt, last_text, reworded
from counterpoint.data import row_numbers
from counterpoint.data.language.preferences import Preference, PreferenceData
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import LOOK, ProblemData, Problems
from counterpoint.data.language.prompted import origin_of
from counterpoint.data.language.stored_rows import StoredRows
from counterpoint.errors import CounterpointError, counted

SHOWN = (
    "{prompt}\n\nFor orientation, this is how one good reply to it reads:\n{demonstration}\n\n"
    "Read it closely, then work the problem out yourself and reply in your own words."
)
"""The teacher's prompt: the problem, a demonstration, the request to solve the problem in one's own way."""
EXAMPLE = "Question: {prompt}\nReply: {demonstration}"
"""How another problem and its reference are put where a demonstration goes."""


def check_template(template: str, *names: str) -> None:
    """Raise unless a template has each named field.

    >>> check_template("{prompt}", "prompt", "demonstration")
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: the template '{prompt}' has no field {demonstration}; it needs ...
    """
    for name in names:
        if "{" + name + "}" not in template:
            wanted = " and ".join("{" + each + "}" for each in names)
            raise CounterpointError(f"the template {template!r} has no field {{{name}}}; it needs {wanted}")


def require_references(problems: Sequence[Problem], method: str) -> None:
    """Raise unless every problem has a reference solution or answer.

    >>> require_references([Problem("2+2", answer="4")], "unisd")
    """
    facts = LOOK.of(problems)
    missing = np.flatnonzero(facts["size"] == facts["prompt"])
    if len(missing):
        of = f"of {len(problems)} training problems "
        raise CounterpointError(
            f"{method} learns from a solution or an answer, and {counted(len(missing), of + 'has', of + 'have')} none, "
            f"first {origin_of(problems, int(missing[0]))}; give the data a 'completion' or an 'answer' column, or drop those rows"
        )


def demonstrations(data: ProblemData | PreferenceData, method: str) -> Problems:
    """What supervised training imitates: references of problems, or the chosen answers of preferences.

    Raises:
        CounterpointError: a problem without a reference, or no chosen answer at all.
    """
    if isinstance(data, ProblemData):
        require_references(data.train.rows, method)
        return data.train
    rows: Sequence[Problem]
    if isinstance(data.train.rows, StoredRows):
        given = row_numbers.positions(data.train.rows.facts["chosen"] > 0)
        rows = data.train.rows.select(given).changed("chosen", chosen_as_reference)
    else:
        rows = [chosen_as_reference(row) for row in data.train.rows if row.chosen]
    if not rows:
        raise CounterpointError(
            f"{method} imitates good answers, and the preferences of {data.name} have none"
        )
    return Problems(rows, "exact")


def chosen_as_reference(row: Preference) -> Problem:
    """A preference's prompt with its chosen answer as the reference."""
    if isinstance(row.chosen, str):
        return Problem(row.prompt, solution=row.chosen, origin=row.origin)
    return Problem(row.prompt, solution=last_text(row.chosen), messages=tuple(row.chosen), origin=row.origin)


def with_demonstration(problem: Problem, demonstration: str, template: str = SHOWN) -> Prompt:
    """Put a demonstration into a problem's prompt: into the last message, when the prompt is a conversation.

    >>> with_demonstration(Problem("2+2"), "4", "{demonstration}#{prompt}")
    '4#2+2'
    """
    text = template.replace("{prompt}", problem.question).replace("{demonstration}", demonstration)
    return reworded(problem.prompt, text)


def as_example(problem: Problem, template: str = EXAMPLE) -> str:
    """Word another problem and its reference as an example."""
    return template.replace("{prompt}", problem.question).replace("{demonstration}", problem.reference)


def others(index_B: Tensor, uniform_BK: Tensor, count: int) -> Tensor:
    """Draw K distinct other problems per row from K uniform numbers: [B, K], never the row itself.

    >>> others(torch.tensor([0, 2]), torch.tensor([[0.0, 0.0], [0.9, 0.9]]), 3).tolist()
    [[1, 2], [1, 0]]
    """
    wanted = uniform_BK.shape[1]
    if count - 1 < wanted:
        raise CounterpointError(
            f"{wanted} contexts of other problems are wanted and there are {count - 1}; lower agreement.num_contexts or add problems"
        )
    rows = []
    for own, draws in zip(index_B.tolist(), uniform_BK.double().tolist()):
        taken = [own]
        for draw in draws:
            index = min(int(draw * (count - len(taken))), count - len(taken) - 1)
            for used in sorted(taken):  # the place-th problem that is not taken yet
                index += index >= used
            taken.append(index)
        rows.append(taken[1:])
    return torch.tensor(rows, dtype=torch.long).reshape(len(rows), wanted)


def nearest(vectors: np.ndarray, count: int) -> Tensor:
    """Return each row's nearest others by cosine, [N, count]; indices repeat in a cycle where the pool is too small.

    Args:
        vectors: [N, d], dense or a scipy sparse matrix; normalised here.
        count: how many.
    """
    block = 1024  # rows compared at a time
    from sklearn.preprocessing import normalize

    unit = normalize(vectors)
    rows, available = unit.shape[0], min(count, unit.shape[0] - 1)
    if available < 1:
        raise CounterpointError("retrieval needs at least two problems")
    neighbours = np.empty((rows, available), dtype=np.int64)
    for start in range(0, rows, block):
        similar = unit[start : start + block] @ unit.T
        similar = np.asarray(similar.todense() if hasattr(similar, "todense") else similar)
        here = np.arange(similar.shape[0])
        similar[here, start + here] = -np.inf
        neighbours[start : start + block] = np.argsort(-similar, axis=1, kind="stable")[:, :available]
    return torch.from_numpy(neighbours[:, np.arange(count) % available])


def tfidf(texts: Sequence[str]) -> np.ndarray:
    """Return TF-IDF vectors of character trigrams within words: no model needed, any language."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)).fit_transform(texts)
