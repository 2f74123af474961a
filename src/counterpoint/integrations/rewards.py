"""Judges as TRL's reward functions: ``GRPOTrainer(reward_funcs=[reward_function("verifier:math")], ...)``.

TRL calls ``reward(prompts, completions, completion_ids, **columns)`` with a row per completion; the completions to one prompt follow
one another. A judge sees problems with all their answers, so that a vote among them is one. Nothing is imported from TRL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from counterpoint.conversation import last_text
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges.choose import judge as chosen
from counterpoint.judges.judge import Judge

FIELDS = ("answer", "solution", "hint")
MODELS = ("intrinsic", "rated:self", "compared:self", "anchored:self")


def reward_function(
    judge: str | Judge, *, scorer: str = "answer", model: str | Any = None, reference: Any = None
) -> Callable[..., list[float | None]]:
    """A judge with TRL's signature.

    Args:
        judge: by its name (``judges.choose.NAMES``, docs/judges.md), or one itself.
        scorer: how "verifier" compares with the column ``answer``.
        model, reference: what "intrinsic" measures with and what judges as "self": a folder, a bundled model's name, or a ``Language``.

    Returns:
        A function that gives a number per completion, None where the judge has no opinion. TRL shows it under the judge's name.

    Raises:
        CounterpointError: no such judge; one that needs a model, without one.

    >>> reward = reward_function("verifier:number")
    >>> reward(prompts=["2+2=", "2+2="], completions=["4", "5"], answer=["4", "4"])
    [1.0, 0.0]
    """
    if isinstance(judge, str):
        if judge in MODELS and model is None:
            raise CounterpointError(
                f"judge={judge} judges with a model, and none was given; name one: reward_function({judge!r}, model=FOLDER)"
            )
        judging, name = (
            chosen(judge, scorer=scorer, model=_loaded(model), reference=_loaded(reference)),
            judge,
        )
    else:
        judging, name = judge, getattr(judge, "name", type(judge).__name__)

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        rows = _rows(prompts, completions, columns)
        groups = [list(group) for _, group in groupby(rows, key=lambda row: row[0])]
        verdicts = judging(
            [group[0][0] for group in groups], [[answer for _, answer in group] for group in groups]
        )
        given = [value for row, _ in verdicts.rows() for value in row]
        return [None if math.isnan(value) else value for value in given]

    reward.__name__ = reward.__qualname__ = name
    return reward


def _loaded(model: Any) -> Any:
    if not isinstance(model, str):
        return model
    from counterpoint.models.language.language import load

    return load(model).eval().requires_grad_(False)


def _rows(
    prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Any]
) -> list[tuple[Problem, Answer]]:
    """A problem and an answer for every completion; columns that are no list of so many are left out (TRL's trainer_state)."""
    ids = columns.pop("completion_ids", None) or [[] for _ in completions]
    of_rows = {
        key: value
        for key, value in columns.items()
        if isinstance(value, Sequence) and len(value) == len(completions)
    }
    rows = []
    for at, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        fields: dict[str, Any] = {key: _text(of_rows[key][at]) for key in FIELDS if key in of_rows}
        meta = {key: value[at] for key, value in of_rows.items() if key not in FIELDS}
        text = completion if isinstance(completion, str) else last_text(completion)
        rows.append((Problem(prompt, meta=meta, **fields), Answer(ids=list(ids[at]), text=text, ended=True)))
    return rows


def _text(value: Any) -> str:
    return "" if value is None else str(value)
