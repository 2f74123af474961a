"""Any reward function with TRL's signature as a judge.

``reward(prompts, completions, **columns) -> list of numbers``, one per completion, None where it has no opinion. Prompts and
completions are texts, or lists of messages where the data's prompts are conversations, as TRL hands them over; columns are
``answer``, ``solution``, ``hint`` and what the problems' meta holds.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.imported import imported as imported_name
from counterpoint.judges.judge import Verdicts


class RewardFunction:
    """A judge that calls a function with one row per answer.

    Args:
        function: with TRL's signature.

    >>> judge = RewardFunction(lambda completions, **columns: [-len(text) for text in completions])
    >>> answers = [{"ids": [], "text": text, "ended": True} for text in ("4", "four")]
    >>> judge([Problem("2+2=")], [answers]).rewards.tolist()
    [[-1.0, -4.0]]
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Call the function once for all answers.

        Raises:
            CounterpointError: it gives another number of rewards than there are answers, or something else than numbers.
        """
        given, count = call_with_columns(self.function, problems, answers), sum(map(len, answers))
        try:
            values = [math.nan if value is None else float(value) for value in given]
        except (TypeError, ValueError):
            values = []
        if len(values) != count:
            raise CounterpointError(
                f"the reward function '{self.name}' gave {str(given)[:80]} for {count} completions; expected a list with one "
                "number (or None) a completion, as TRL's reward functions give"
            )
        rest = iter(values)
        rewards = [[next(rest) for _ in row] for row in answers]
        return Verdicts.of(rewards, [[f"{self.name}: {value:g}" for value in row] for row in rewards])


def call_with_columns(function: Callable[..., Any], problems: Sequence[Problem], answers: Answers) -> Any:
    """What a function with TRL's signature gives for all answers, one row each.

    Raises:
        CounterpointError: it needs a column that the data has not.
    """
    flat = [(p, a) for p, row in zip(problems, answers, strict=True) for a in row]
    columns: dict[str, Any] = {
        "prompts": [p.prompt for p, _ in flat],
        "completions": [
            a["text"] if isinstance(p.prompt, str) else [{"role": "assistant", "content": a["text"]}]
            for p, a in flat
        ],
        "completion_ids": [a["ids"] for _, a in flat],
        **{name: [getattr(p, name) for p, _ in flat] for name in ("answer", "solution", "hint")},
    }
    for name in dict.fromkeys(name for p, _ in flat for name in p.meta if name not in columns):
        columns[name] = [p.meta.get(name) for p, _ in flat]
    given = function(**_accepted(function, columns))
    return asyncio.run(_result(given)) if inspect.isawaitable(given) else given  # TRL takes coroutines, too


async def _result(given: Awaitable[Any]) -> Any:
    return await given


def _accepted(function: Callable[..., Any], columns: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return columns
    wanted = [each.name for each in parameters]
    missing = [p.name for p in parameters if p.default is inspect.Parameter.empty and p.name not in columns]
    if missing:
        raise CounterpointError(
            f"the reward function '{getattr(function, '__name__', function)}' needs '{missing[0]}', and the data has "
            f"{', '.join(columns)}; end its parameters with **kwargs, or give it a default"
        )
    return {name: columns[name] for name in wanted if name in columns}


def load(spec: str) -> RewardFunction:
    """The reward function "package.module:function" or "path/file.py:function"."""
    return RewardFunction(imported(spec))


def imported(spec: str) -> Callable[..., Any]:
    """Import "package.module:function" or "path/file.py:function".

    Raises:
        CounterpointError: nothing there that can be called.
    """
    function = imported_name(spec)
    if not callable(function):
        raise CounterpointError(
            f"'{spec}' is a {type(function).__name__}; expected a function of completions"
        )
    return function
