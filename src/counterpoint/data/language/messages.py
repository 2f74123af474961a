"""Cells of rows as text and messages: parts, numbers, calls of tools. What a text model cannot read is refused by row."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.conversation import Completion, Conversation, Message, Prompt, turns
from counterpoint.errors import CounterpointError

SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
"""Roles of ShareGPT's rows (``from``, ``value``), by the names that chat templates know."""
ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython")
"""Roles that chat templates know, however a row spells them: "User", " Assistant"."""
WHOLE = ("messages", "conversations", "conversation")
"""Columns that hold a whole conversation, the assistant's turns among it."""
IMAGES = ("image", "images")
"""Columns of pictures."""


def plain(value: Any, where: str, what: str) -> str:
    """A cell that holds text, or a number that is meant as text; None is "".

    Raises:
        CounterpointError: an object, a list or bytes, whose notation in Python nobody means.

    >>> plain(3.0, "row 1", "answer"), plain("x", "row 1", "answer")
    ('3', 'x')
    """
    if type(value) is str:
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, dict | list | tuple | bytes):
        raise CounterpointError(f"{where}: {what} is {_short(value)}; expected text")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def pictures(row: Mapping[str, Any], where: str, folder: Path) -> list[dict[str, Any]]:
    """The pictures of a row's column ``images`` (or ``image``), as parts of a message.

    A picture is a path (as it stands, or beside the file), bytes, or ``{"bytes": ..., "path": ...}`` as the datasets library has it.

    Raises:
        CounterpointError: something else, or a file that is not there.
    """
    given = next((row[name] for name in IMAGES if row.get(name) not in (None, "", [])), None)
    if given is None:
        return []
    parts = []
    for each in given if isinstance(given, list | tuple) else [given]:
        value = (each.get("bytes") or each.get("path")) if isinstance(each, dict) else each
        if isinstance(value, bytes):
            source = "data:image/*;base64," + base64.b64encode(value).decode()
        elif isinstance(value, str) and value:
            file = next((path for path in (folder / value, Path(value)) if path.is_file()), None)
            if file is None:
                raise CounterpointError(
                    f"{where}: there is no picture {value}, neither here nor beside the data"
                )
            source, value = str(file.resolve()), file.read_bytes()
        else:
            raise CounterpointError(
                f"{where}: a picture is {_short(each)}; expected a path, bytes, or {{'bytes': ..., 'path': ...}}"
            )
        parts.append({"type": "image", "image": source, "sha256": hashlib.sha256(value).hexdigest()})
    return parts


def with_pictures(prompt: Prompt, row: Mapping[str, Any], where: str, file: Path) -> Prompt:
    """A prompt with the row's pictures at its picture parts, or before the first words of the user where it has none.

    Paths of pictures may be beside the row's ``file``.

    Raises:
        CounterpointError: another number of picture parts than of pictures.
    """
    images = pictures(row, where, file.parent) if _has_pictures(row) else []
    if not images and isinstance(prompt, str):
        return prompt
    talk = turns(prompt)
    marked = sum(
        isinstance(part, dict) and part.get("type") == "image"
        for message in talk
        if isinstance(message["content"], list)
        for part in message["content"]
    )
    if not images and not marked:
        return prompt
    if marked not in (0, len(images)):
        raise CounterpointError(
            f"{where}: the messages show {marked} pictures, and the row has {len(images)}"
        )
    rest, first = iter(images), True
    result = []
    for message in talk:
        value = message["content"]
        if isinstance(value, list):
            value = [next(rest) if part.get("type") == "image" else part for part in value]
        elif not marked and first and message["role"] == "user":
            value, first = [*images, {"type": "text", "text": value}], False
        result.append({**message, "content": value})
    if not marked and first:
        raise CounterpointError(
            f"{where}: the row has pictures, and its prompt no turn of the user to show them in"
        )
    return Conversation(result, talk.tools, talk.options)


def content(value: Any, where: str, pictured: bool = False) -> Any:
    """A message's content: text, or a list of parts that are all text, joined; with pictures among them, the parts.

    Raises:
        CounterpointError: null, an image, anything else.

    >>> content([{"type": "text", "text": "1+"}, {"type": "text", "text": "1="}], "row 1")
    '1+1='
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        if pictured and any(isinstance(part, dict) and part.get("type") == "image" for part in value):
            clean = [{"type": "image"} if part.get("type") == "image" else part for part in value]
            if all(part == {"type": "image"} or _is_text_part(part) for part in clean):
                return [
                    part if part["type"] == "image" else {"type": "text", "text": part["text"]}
                    for part in clean
                ]
        parts = [part.get("text") if _is_text_part(part) else part for part in value]
        if all(isinstance(part, str) for part in parts):
            return "".join(parts)
        odd = next(part for part in parts if not isinstance(part, str))
        raise CounterpointError(
            f"{where}: a message holds a part that is no text: {_short(odd)}; expected parts {{'type': 'text', 'text': ...}}"
        )
    raise CounterpointError(f"{where}: a message's content is {_short(value)}; expected text")


def messages(value: Any, where: str, pictured: bool = False) -> list[Message]:
    """A conversation: messages of a role and text each, with every other field that they have.

    ShareGPT's ``from`` and ``value`` are read as ``role`` and ``content``. A message that calls tools may have no content.

    Raises:
        CounterpointError: something else, a content that is no text.
    """
    if not isinstance(value, list) or not value:
        raise CounterpointError(
            f"{where}: expected a list of messages {{'role': ..., 'content': ...}}, got {_short(value)}"
        )
    return [_message(message, where, pictured) for message in value]


def whole_conversation(row: Mapping[str, Any], where: str) -> list[Any] | None:
    """The messages of a row's column for whole conversations, which may be JSON in text; None where the row has none.

    Raises:
        CounterpointError: the column is there and holds no messages, and the row has no text beside it.
    """
    name = next((name for name in WHOLE if name in row), None)
    if name is None:
        return None
    value = _structure(row[name], list, where, name)
    if value is None and not has_text(row):
        raise CounterpointError(
            f"{where}: '{name}' is {_short(row[name])}; expected a list of messages {{'role': ..., 'content': ...}}"
        )
    return value


def has_text(row: Mapping[str, Any]) -> bool:
    """Whether the row is text alone, in the column ``text``."""
    return isinstance(row.get("text"), str) and bool(row["text"].strip())


def conversation(value: Any, row: Mapping[str, Any], where: str) -> Conversation:
    """Messages with the row's columns ``tools`` and ``chat_template_kwargs``, which may be JSON in text.

    Raises:
        CounterpointError: as ``messages``; tools that are no list, arguments that are no object.
    """
    tools = _structure(row.get("tools"), list, where, "tools")
    options = _structure(row.get("chat_template_kwargs"), dict, where, "chat_template_kwargs")
    return Conversation(messages(value, where, _has_pictures(row)), tools or (), options or {})


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


def _has_pictures(row: Mapping[str, Any]) -> bool:
    return any(row.get(name) not in (None, "", []) for name in IMAGES)


def _message(message: Any, where: str, pictured: bool = False) -> Message:
    if isinstance(message, dict) and "from" in message and "role" not in message:
        renamed = {"role": str(message["from"]), "content": message.get("value")}
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
    else:
        _check_calls(rest["tool_calls"], where)
    rest["role"] = _role(rest["role"])
    given = message.get("content")
    if given is None and "tool_calls" in rest:
        return {"role": rest.pop("role"), "content": None, **rest}
    return {"role": rest.pop("role"), "content": content(given, where, pictured), **rest}


def _role(given: str) -> str:
    plain = given.strip().lower()
    plain = SPEAKERS.get(plain, plain)
    return plain if plain in ROLES else given


def _check_calls(calls: Any, where: str) -> None:
    """Calls of tools are a list of objects with a name; a Parquet file may hold each as its JSON."""
    for call in calls if isinstance(calls, list) else [calls]:
        inner = (call.get("function") or call) if isinstance(call, dict) else None
        if not isinstance(calls, list) or not isinstance(inner, dict) or not inner.get("name"):
            raise CounterpointError(
                f"{where}: tool_calls is {_short(calls)}; expected a list of {{'function': {{'name': ..., 'arguments': ...}}}}"
            )


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
