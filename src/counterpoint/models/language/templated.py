"""A conversation as the text that a chat template makes of it, or the reason why it makes none. No torch."""

from __future__ import annotations

import logging
from typing import Any

from jinja2 import TemplateError

from counterpoint.conversation import Conversation, Message, pictures_of
from counterpoint.errors import CounterpointError

logger = logging.getLogger("counterpoint")
_warned: set[str] = set()
STAND_IN = "called_as_"
"""Before a tool's name, where it is looked for in what a template writes."""


def templated(
    tokenizer: Any, talk: Conversation, *, reply: bool = False, go_on: bool = False, pictured: bool = False
) -> str:
    """What the template makes of messages; those with pictures only where the caller knows what to do with them."""
    if not pictured and pictures_of(talk):
        raise CounterpointError(
            "the row has pictures, and they are read by vision-language models alone, from a folder with its processor; give such a model, "
            "or leave the pictures out if the text stands by itself"
        )
    continued = go_on and bool(talk) and talk[-1]["role"] == "assistant"
    given = {**options_of(talk), "tokenize": False, "add_generation_prompt": reply and not continued}
    if continued:
        given["continue_final_message"] = True
    try:
        text = _without_none(tokenizer, list(talk), given)
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        roles = ", ".join(str(message.get("role")) for message in talk)
        raise CounterpointError(
            f"the model's chat template refuses turns of {roles}: {' '.join(str(error).split())[:200]}; "
            "write the row as the template expects, or change tokenizer.chat_template"
        ) from None
    _check_tools(tokenizer, talk, given, text)
    return text


def _check_tools(tokenizer: Any, talk: Conversation, given: dict[str, Any], text: str) -> None:
    """Calls that a template leaves out would be learnt as empty turns.

    A tool's name may stand in the text for other reasons, so that names are looked for that stand nowhere else.
    """
    if any(message.get("tool_calls") for message in talk):
        written = _without_none(tokenizer, [_renamed(message) for message in talk], given)
        for message in talk:
            for name in map(_name, _calls(message)):
                if STAND_IN + name in written:
                    continue
                raise CounterpointError(
                    f"a message calls the tool {name!r}, and the model's chat template does not write calls of tools; take a model "
                    "that knows tools, change tokenizer.chat_template, or write the call as text"
                )
    names = [(tool.get("function") or tool).get("name") for tool in talk.tools if isinstance(tool, dict)]
    if any(name and str(name) not in text for name in names):
        say(
            "tools",
            "rows describe tools, and the model's chat template does not write them: the model does not see them",
        )


def _renamed(message: Message) -> Message:
    """The message with names of tools that stand nowhere else."""
    calls, renamed = _calls(message), []
    if not calls:
        return message
    for call in calls:
        name = _name(call)
        inner = {**(call.get("function") or call), "name": STAND_IN + name}
        renamed.append({**call, "function": inner} if call.get("function") else inner)
    return {**message, "tool_calls": renamed}


def _calls(message: Message) -> list[Any]:
    calls = message.get("tool_calls") or []
    return (
        list(calls.values())
        if isinstance(calls, dict)
        else [calls]
        if isinstance(calls, str)
        else list(calls)
    )


def _name(call: Any) -> str:
    inner = (call.get("function") or call) if isinstance(call, dict) else None
    if not isinstance(inner, dict) or not inner.get("name"):
        raise CounterpointError(
            f"a call of a tool is {call!r}; expected {{'function': {{'name': ..., 'arguments': ...}}}}"
        )
    return str(inner["name"])


def options_of(talk: Conversation) -> dict[str, Any]:
    """Tools and arguments for the template."""
    # Some templates write about tools wherever a list is given, even an empty one.
    return {"tools": talk.tools or None, **talk.options}


def without_null(talk: list[Message]) -> list[Message]:
    """The same messages with "" for null contents."""
    return [message if message["content"] is not None else {**message, "content": ""} for message in talk]


def _without_none(tokenizer: Any, talk: list[Message], given: dict[str, Any]) -> str:
    """A call of a tool has no content: null as it is given, or "" where the template would write "None" for it."""
    if all(message["content"] is not None for message in talk):
        return tokenizer.apply_chat_template(talk, **given)
    other: str = tokenizer.apply_chat_template(without_null(talk), **given)
    try:
        written: str = tokenizer.apply_chat_template(talk, **given)
    except (TemplateError, TypeError):
        return other
    return other if written.count("None") > other.count("None") else written


def say(what: str, line: str) -> None:
    """Once a process for each thing there is to say."""
    if what not in _warned:
        _warned.add(what)
        logger.warning(line)
