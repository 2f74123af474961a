"""Cells of rows as text and messages: parts, numbers, calls of tools. What a text model cannot read is refused by row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from counterpoint.conversation import Completion, Conversation, Message
from counterpoint.errors import CounterpointError

SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
"""Roles of ShareGPT's rows (``from``, ``value``), by the names that chat templates know."""
IMAGES = ("image", "images")
"""Columns of pictures, which a text model does not see."""


def plain(value: Any, where: str, what: str) -> str:
    """A cell that holds text, or a number that is meant as text; None is "".

    Raises:
        CounterpointError: an object, a list or bytes, whose notation in Python nobody means.

    >>> plain(3.0, "row 1", "answer"), plain("x", "row 1", "answer")
    ('3', 'x')
    """
    if value is None or value != value:
        return ""
    if isinstance(value, dict | list | tuple | bytes):
        raise CounterpointError(f"{where}: {what} is {_short(value)}; expected text")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def content(value: Any, where: str) -> str:
    """A message's content: text, or a list of parts that are all text, joined.

    Raises:
        CounterpointError: null, an image, anything else.

    >>> content([{"type": "text", "text": "1+"}, {"type": "text", "text": "1="}], "row 1")
    '1+1='
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        parts = [part.get("text") if _is_text_part(part) else part for part in value]
        if all(isinstance(part, str) for part in parts):
            return "".join(parts)
        odd = next(part for part in parts if not isinstance(part, str))
        raise CounterpointError(
            f"{where}: a message holds a part that is no text: {_short(odd)}; expected parts {{'type': 'text', 'text': ...}}"
        )
    raise CounterpointError(f"{where}: a message's content is {_short(value)}; expected text")


def messages(value: Any, where: str) -> list[Message]:
    """A conversation: messages of a role and text each, with every other field that they have.

    ShareGPT's ``from`` and ``value`` are read as ``role`` and ``content``. A message that calls tools may have no content.

    Raises:
        CounterpointError: something else, a content that is no text.
    """
    if not isinstance(value, list) or not value:
        raise CounterpointError(
            f"{where}: expected a list of messages {{'role': ..., 'content': ...}}, got {_short(value)}"
        )
    return [_message(message, where) for message in value]


def conversation(value: Any, row: Mapping[str, Any], where: str) -> Conversation:
    """Messages with the row's columns ``tools`` and ``chat_template_kwargs``, which may be JSON in text.

    Raises:
        CounterpointError: as ``messages``; tools that are no list, arguments that are no object.
    """
    tools = _structure(row.get("tools"), list, where, "tools")
    options = _structure(row.get("chat_template_kwargs"), dict, where, "chat_template_kwargs")
    return Conversation(messages(value, where), tools or (), options or {})


def completion(value: Any, where: str, what: str) -> Completion:
    """What is to be written after a prompt: text ("" where there is none), or messages with the assistant's among them.

    One message of the assistant that holds nothing but text is that text.

    Raises:
        CounterpointError: messages without one of the assistant, or with nothing in them.
    """
    if not isinstance(value, list):
        return plain(value, where, what)
    if not value:
        return ""
    turns = messages(value, where)
    if not any(message["role"] == "assistant" for message in turns):
        roles = ", ".join(message["role"] for message in turns)
        raise CounterpointError(
            f"{where}: {what} holds messages of {roles}; expected some of the assistant's"
        )
    return simplest(turns)


def simplest(turns: list[Message]) -> Completion:
    """The text of a single message of the assistant; the messages where there is more to keep.

    >>> simplest([{"role": "assistant", "content": "4"}])
    '4'
    """
    single = len(turns) == 1 and set(turns[0]) == {"role", "content"} and turns[0]["role"] == "assistant"
    return turns[0]["content"] if single else turns


def refuse_images(row: Mapping[str, Any], where: str) -> None:
    """Raise where a row has pictures: a model of text would be trained as though they were not there."""
    for name in IMAGES:
        if row.get(name) not in (None, "", []):
            raise CounterpointError(
                f"{where}: column '{name}' holds pictures, and this kind of data is text: a text model would not see them; "
                "leave the column out if the text stands by itself"
            )


def _message(message: Any, where: str) -> Message:
    if isinstance(message, dict) and "from" in message and "role" not in message:
        speaker = str(message["from"])
        renamed = {"role": SPEAKERS.get(speaker, speaker), "content": message.get("value")}
        message = renamed | {k: v for k, v in message.items() if k not in ("from", "value")}
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise CounterpointError(
            f"{where}: expected messages {{'role': ..., 'content': ...}}, got {_short(message)}"
        )
    # A Parquet file gives every message all keys, with None where a message lacks one.
    rest = {name: value for name, value in message.items() if value is not None and name != "content"}
    if not rest.get("tool_calls"):
        rest.pop("tool_calls", None)
        if "content" not in message:
            raise CounterpointError(
                f"{where}: expected messages {{'role': ..., 'content': ...}}, got {_short(message)}"
            )
    given = message.get("content")
    if given is None and "tool_calls" in rest:
        return {"role": rest.pop("role"), "content": None, **rest}
    return {"role": rest.pop("role"), "content": content(given, where), **rest}


def _structure(value: Any, kind: type, where: str, what: str) -> Any:
    if value in (None, "", [], {}):
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = str(value)
    if not isinstance(value, kind):
        wanted = "a list" if kind is list else "an object"
        raise CounterpointError(f"{where}: {what} is {_short(value)}; expected {wanted}, or its JSON")
    return value


def _is_text_part(part: Any) -> bool:
    # A Parquet file gives every part all keys, with None where a part lacks one.
    return isinstance(part, dict) and part.get("type", "text") == "text"


def _short(value: Any) -> str:
    shown = "null" if value is None else repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
