"""Tools that a model may call in an episode: a person's functions, or a class with a state of its own an episode.

As TRL takes them: functions with type hints and a docstring (``tools``), or a class whose public methods are the tools, with an
optional ``reset(**row)`` that may return a first observation (``environment_factory``). A number or method called ``reward`` of such
a class is what the judge "environment" gives. Calls are read as the common templates write them.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from counterpoint.conversation import Message
from counterpoint.errors import CounterpointError, nearest
from counterpoint.imported import imported

MARKED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)


@dataclass
class Tools:
    """One episode's tools.

    Attributes:
        functions: by name.
        state: the object whose methods they are, if any.
    """

    functions: Mapping[str, Callable[..., Any]]
    state: Any = None

    def replies(self, text: str) -> list[Message]:
        """Run the calls of a turn; one message of the role "tool" for each, none where the turn calls nothing.

        A call that fails is answered with the error's text: the model may try again.

        >>> def double(n: int) -> int:
        ...     return 2 * n
        >>> Tools({"double": double}).replies('{"name": "double", "arguments": {"n": 4}}')
        [{'role': 'tool', 'name': 'double', 'content': '8'}]
        """
        return [
            {"role": "tool", "name": str(call["name"]), "content": self._run(call)} for call in calls(text)
        ]

    def _run(self, call: Mapping[str, Any]) -> str:
        name, given = str(call.get("name")), call.get("arguments", call.get("parameters", {}))
        if name not in self.functions:
            return f"error: there is no tool '{name}'; {nearest(name, self.functions)}"
        if not isinstance(given, Mapping):
            return f"error: {name} takes arguments by name"
        try:
            result = self.functions[name](**given)
        except Exception as error:
            return f"error: {error}"
        return result if isinstance(result, str) else json.dumps(result, default=str)

    @property
    def reward(self) -> float:
        """What the episode's object says it was worth, NaN where it says nothing."""
        value = getattr(self.state, "reward", None)
        value = value() if callable(value) else value
        return float("nan") if value is None else float(value)


def calls(text: str) -> list[dict[str, Any]]:
    """The calls of tools in a turn: in <tool_call> marks, or a turn that is one JSON object with a name.

    >>> calls('so <tool_call>{"name": "a", "arguments": {}}</tool_call>'), calls("4")
    ([{'name': 'a', 'arguments': {}}], [])
    """
    parts = MARKED.findall(text) or [text.strip()]
    parsed = []
    for part in parts:
        try:
            call = json.loads(part)
        except json.JSONDecodeError:
            continue
        if isinstance(call, dict) and isinstance(call.get("name"), str):
            parsed.append(call)
    return parsed


@dataclass(frozen=True)
class Toolbox:
    """Makes an episode's tools.

    Attributes:
        functions: shared by all episodes. factory: makes an object for each.
    """

    functions: Sequence[Callable[..., Any]] = ()
    factory: Callable[[], Any] | None = None
    schemas: list[dict[str, Any]] = field(default_factory=list)

    def open(self, row: Mapping[str, Any]) -> tuple[Tools, str]:
        """Tools of a new episode and its first observation, "" where there is none.

        Args:
            row: what ``reset`` is told of the problem, by name.
        """
        if self.factory is None:
            return Tools({each.__name__: each for each in self.functions}), ""
        state = self.factory()
        first = state.reset(**_accepted(state.reset, row)) if hasattr(state, "reset") else None
        return Tools(_methods(state), state), "" if first is None else str(first)


def load(spec: str) -> Toolbox:
    """Tools by "package.module:name" or "path/file.py:name": a function, a list of functions, or a class.

    Raises:
        CounterpointError: nothing there, or a tool whose arguments are not described.
    """
    return toolbox(imported(spec, "tools"), spec)


def toolbox(given: Any, spec: str = "tools") -> Toolbox:
    """Tools from Python: a function, a list of functions, or a class."""
    if inspect.isclass(given):
        functions: list[Callable[..., Any]] = list(_methods(given()).values())
        return Toolbox(factory=given, schemas=[_schema(each, spec) for each in functions])
    functions = list(given) if isinstance(given, Sequence) else [given]
    if not functions or not all(map(callable, functions)):
        raise CounterpointError(
            f"'{spec}' is {given!r}; expected a function, a list of functions, or a class"
        )
    return Toolbox(functions, schemas=[_schema(each, spec) for each in functions])


def _methods(state: Any) -> dict[str, Callable[..., Any]]:
    methods = inspect.getmembers(state, inspect.ismethod)
    return {
        name: each for name, each in methods if not name.startswith("_") and name not in ("reset", "reward")
    }


def _schema(function: Callable[..., Any], spec: str) -> dict[str, Any]:
    from transformers.utils import get_json_schema

    try:
        described: dict[str, Any] = get_json_schema(function)
    except Exception as error:
        raise CounterpointError(
            f"'{spec}': the tool '{function.__name__}' cannot be described to a model: {error}; give its arguments type hints "
            'and its docstring a section "Args:" with a line for each'
        ) from None
    return described


def _accepted(function: Callable[..., Any], row: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return dict(row)
    return {name: row[name] for name in parameters if name in row}
