"""Conversations: messages as the rows of a file have them, with the tools and template arguments that belong to them.

A prompt is text (one turn of the user, or what a template already made) or a conversation; a completion is text or the messages
that follow. ``models.language.rendering`` turns both into tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Message = dict[str, Any]
"""``role`` and ``content``, and what a row says besides: ``name``, ``tool_calls``, ``tool_call_id``, ``reasoning_content``."""


class Conversation(list[Message]):
    """Messages, and what their rendering needs besides.

    Attributes:
        tools: descriptions of the tools that may be called, as JSON schemas.
        options: further arguments of the chat template (a row's ``chat_template_kwargs``).

    >>> talk = Conversation([{"role": "user", "content": "hi"}], tools=[{"name": "clock"}])
    >>> talk[-1]["content"], len(talk.tools)
    ('hi', 1)
    """

    def __init__(
        self, messages: Iterable[Message] = (), tools: Iterable[Any] = (), options: Mapping[str, Any] = {}
    ) -> None:
        super().__init__(messages)
        self.tools, self.options = list(tools), dict(options)


class Text(str):
    """Text that is read as it stands: no chat template, whatever the model has."""

    __slots__ = ()


Prompt = str | list[Message]
"""Text of one user turn, ``Text``, or messages."""
Completion = str | list[Message]
"""The assistant's text, or the messages that follow a prompt."""


def turns(prompt: Prompt) -> Conversation:
    """A prompt as messages; text is one turn of the user.

    >>> turns("1+1=")
    [{'role': 'user', 'content': '1+1='}]
    """
    if isinstance(prompt, Conversation):
        return prompt
    return Conversation([{"role": "user", "content": str(prompt)}] if isinstance(prompt, str) else prompt)


def replies(completion: Completion) -> list[Message]:
    """A completion as messages; text is one turn of the assistant."""
    if isinstance(completion, str):
        return [{"role": "assistant", "content": str(completion)}]
    return list(completion)


def pictures_of(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The parts of messages that are pictures, in their order: ``{"type": "image", "image": path or data URI, "sha256": ...}``.

    >>> pictures_of([{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "what?"}]}])
    [{'type': 'image', 'image': 'a.png'}]
    """
    return [
        part
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
        if isinstance(part, dict) and part.get("type") == "image"
    ]


def following(prompt: Prompt, *messages: Message) -> Conversation:
    """The conversation that goes on after a prompt, with the prompt's tools and template arguments.

    >>> following("1+1=", {"role": "assistant", "content": "2"})[-1]
    {'role': 'assistant', 'content': '2'}
    """
    before = turns(prompt)
    return Conversation([*before, *messages], before.tools, before.options)


def reworded(prompt: Prompt, text: str) -> Prompt:
    """The same prompt with another text in its last message.

    >>> reworded([{"role": "user", "content": "1+1="}], "2+2=")
    [{'role': 'user', 'content': '2+2='}]
    """
    if isinstance(prompt, str):
        return Text(text) if isinstance(prompt, Text) else text
    before = turns(prompt)
    pictures = pictures_of(before[-1:])
    content: Any = [*pictures, {"type": "text", "text": text}] if pictures else text
    return Conversation([*before[:-1], {**before[-1], "content": content}], before.tools, before.options)


def text_of(completion: Completion) -> str:
    """What the assistant wrote, as one text: contents, and calls of tools as JSON, a blank line between messages.

    >>> text_of([{"role": "assistant", "content": "4"}, {"role": "user", "content": "and 3+3?"}])
    '4'
    """
    if isinstance(completion, str):
        return str(completion)
    parts = []
    for message in completion:
        if message["role"] == "assistant":
            parts += [message.get("content") or "", *map(json.dumps, message.get("tool_calls") or ())]
    return "\n\n".join(filter(None, parts))


def last_text(prompt: Prompt) -> str:
    """The prompt as one text: of a conversation, the last message's."""
    if isinstance(prompt, str):
        return str(prompt)
    content = prompt[-1].get("content") or ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return str(content)


def stored(prompt: Prompt) -> Any:
    """Plain values that stand for a prompt in keys and fingerprints; tools and template arguments are part of it, pictures by content."""
    if not isinstance(prompt, str) and pictures_of(prompt):
        named = [{**message, "content": _by_content(message["content"])} for message in prompt]
        talk = turns(prompt)
        return stored(Conversation(named, talk.tools, talk.options))
    if isinstance(prompt, Conversation) and (prompt.tools or prompt.options):
        return {"messages": list(prompt), "tools": prompt.tools, "options": prompt.options}
    if isinstance(prompt, Text):
        return {"text": str(prompt)}
    return prompt


def _by_content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [
        {"picture": part["sha256"]} if isinstance(part, dict) and part.get("type") == "image" else part
        for part in content
    ]
