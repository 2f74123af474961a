"""The procedural tasks of reasoning-gym with their own scorers: "reasoning-gym:TASK?size=500&option=value"."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError, MissingExtra, nearest

SIZES = {"size": 500, "validation": 100, "test": 200, "seed": 0}
"""Options of the specification that are not the task's own, with their defaults."""
WORKED = ("answer_cot", "solution", "reasoning", "steps")
"""Metadata entries that hold a worked solution, where a task offers one."""


def load(spec: str) -> dict[str, list[Problem]]:
    """Generate three splits of distinct problems.

    Raises:
        CounterpointError: an unknown task or option, or a task with too few distinct problems.
        MissingExtra: reasoning-gym is not installed.
    """
    task, options = parse(spec)
    sizes = {name: int(options.pop(name, default)) for name, default in SIZES.items()}
    wanted = {name: sizes[name if name != "train" else "size"] for name in ("test", "validation", "train")}
    dataset = _dataset(task, json.dumps(options, sort_keys=True), 4 * sum(wanted.values()), sizes["seed"])
    parts: dict[str, list[Problem]] = {name: [] for name in wanted}
    seen: set[str] = set()
    entries = (dataset[number] for number in range(len(dataset)))
    for name, count in wanted.items():
        while len(parts[name]) < count:
            entry = next(entries, None)
            if entry is None:
                raise CounterpointError(
                    f"{spec}: only {len(seen)} distinct problems found for {sum(wanted.values())} wanted; "
                    f"ask for fewer (size, validation, test) or widen the task's options"
                )
            if entry["question"] in seen:
                continue
            seen.add(entry["question"])
            meta = {"task": task, "options": options, "entry": entry}
            worked = next((str(entry["metadata"][key]) for key in WORKED if entry["metadata"].get(key)), "")
            answer = "" if entry["answer"] is None else str(entry["answer"])
            parts[name].append(Problem(prompt=entry["question"], solution=worked, answer=answer, meta=meta))
    return parts


def score_entry(answer: str, meta: dict[str, Any]) -> float:
    """Score an answer by the check of the task that made the problem."""
    dataset = _dataset(meta["task"], json.dumps(meta["options"], sort_keys=True), 1, 0)
    return float(dataset.score_answer(answer, meta["entry"]))


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Split a specification into the task and its options; values are read as JSON where they are JSON.

    >>> parse("reasoning-gym:chain_sum?size=20&max_terms=2")
    ('chain_sum', {'size': 20, 'max_terms': 2})
    """
    task, _, query = spec.split(":", 1)[-1].partition("?")
    options: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise CounterpointError(f"{spec}: '{pair}' is not name=value; e.g. {spec.split('?')[0]}?size=500")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return task, options


@cache
def _dataset(task: str, options: str, size: int, seed: int) -> Any:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise MissingExtra("reasoning-gym", "language") from None
    if task not in DATASETS:
        raise CounterpointError(f"reasoning-gym has no task '{task}'; {nearest(task, DATASETS)}")
    own_options = DATASETS[task][1].__dataclass_fields__
    given = json.loads(options)
    for name in given:
        if name not in own_options:
            own = [*SIZES, *(key for key in own_options if key not in ("size", "seed"))]
            raise CounterpointError(f"reasoning-gym:{task} has no option '{name}'; {nearest(name, own)}")
    try:
        return reasoning_gym.create_dataset(task, size=size, seed=seed, **given)
    except (AssertionError, ValueError, TypeError) as error:
        raise CounterpointError(f"reasoning-gym:{task} refuses {given}: {error}") from None
