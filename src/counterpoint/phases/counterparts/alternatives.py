"""Two other ways to better a rationale that has seen its answer, from one image alone: the paper's baselines "Verifier" and "Feedback".

The paper names them and says no more (arXiv 2603.02556, table 1). Here a verifier, which is the model itself, reads each right rationale
beside its image, and the first that it says yes to is learnt; feedback, which is the model's, too, takes the contrast's place.
"""

from __future__ import annotations

from collections.abc import Sequence

from counterpoint.data.language.problem import Problem
from counterpoint.generation.authors import Author
from counterpoint.phases.counterparts.stages import Asking, Attempts, written


def verified(
    asking: Asking, rows: Sequence[Problem], chosen: Sequence[int], hinted: Attempts
) -> dict[int, str]:
    """Of each chosen row the first right rationale that the verifier says yes to; rows without one are left out."""
    right = [
        (at, text)
        for at in chosen
        for text, mark in zip(hinted.texts[at], hinted.right[at], strict=True)
        if mark
    ]
    verdicts = asking.about("verified", asking.wording.verify, rows, right)
    result: dict[int, str] = {}
    for (at, text), verdict in zip(right, verdicts, strict=True):
        if approves(verdict):
            result.setdefault(at, text)
    return result


def approves(verdict: str) -> bool:
    """Whether a verifier's text says yes: its first word does.

    >>> [approves(text) for text in ("Yes.", "yes, every step", "No: yes would be wrong", "yesterday", "")]
    [True, True, False, False, False]
    """
    word = "".join(letter if letter.isalpha() else " " for letter in verdict.casefold()).split()
    return word[:1] == ["yes"]


def by_feedback(
    asking: Asking, author: Author, rows: Sequence[Problem], chosen: Sequence[int], hinted: Attempts
) -> dict[int, str]:
    """Of each chosen row its rationale, revised by the feedback that the model gave on it beside the image."""
    first = [(at, hinted.best(at)) for at in chosen]
    feedback = asking.about("feedback", asking.wording.criticise, rows, first)
    questions = [
        {"question": rows[at].question, "rationale": rationale, "feedback": text}
        for (at, rationale), text in zip(first, feedback, strict=True)
    ]
    texts = written(asking, author, asking.wording.revise, questions, "revise", "revised")
    return dict(zip(chosen, texts, strict=True))
