"""Contents of rows as text: messages, messages of parts, numbers. What is no text is refused, and its row is named."""

from __future__ import annotations

from typing import Any

from counterpoint.errors import CounterpointError

Message = dict[str, str]


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
    """A conversation: messages of a role and text each.

    Raises:
        CounterpointError: something else, a call of a tool, a content that is no text.
    """
    if not isinstance(value, list) or not value:
        raise CounterpointError(
            f"{where}: expected a list of messages {{'role': ..., 'content': ...}}, got {_short(value)}"
        )
    turns = []
    for message in value:
        if (
            not isinstance(message, dict)
            or not isinstance(message.get("role"), str)
            or "content" not in message
        ):
            raise CounterpointError(
                f"{where}: expected messages {{'role': ..., 'content': ...}}, got {_short(message)}"
            )
        if message.get("tool_calls"):
            raise CounterpointError(
                f"{where}: a message calls a tool; expected text alone: leave such rows out, or write the call as text"
            )
        turns.append({"role": message["role"], "content": content(message["content"], where)})
    return turns


def completion(value: Any, where: str, what: str) -> str:
    """What is to be written after a prompt: text, or one message of the assistant; "" where there is none.

    Raises:
        CounterpointError: several messages, or one of somebody else.
    """
    if not isinstance(value, list):
        return plain(value, where, what)
    if not value:
        return ""
    turns = messages(value, where)
    if len(turns) > 1 or turns[0]["role"] != "assistant":
        roles = ", ".join(message["role"] for message in turns)
        raise CounterpointError(
            f"{where}: {what} holds messages of {roles}; expected one of the assistant: earlier turns belong to the prompt"
        )
    return turns[0]["content"]


def _is_text_part(part: Any) -> bool:
    # A Parquet file gives every part all keys, with None where a part lacks one.
    return isinstance(part, dict) and part.get("type", "text") == "text"


def _short(value: Any) -> str:
    shown = "null" if value is None else repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
