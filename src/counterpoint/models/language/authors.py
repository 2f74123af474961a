"""Which ids of a conversation the assistant wrote: by the template's generation marks, or by what a turn adds. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from counterpoint.conversation import Conversation, Message
from counterpoint.errors import CounterpointError
from counterpoint.models.language.templated import options_of, templated, without_null
from counterpoint.models.language.templates import marked, turn_lead

STAND_IN = "\ue006\ue007\ue008"


def authors_of(tokenizer: Any, talk: Conversation, whole: str, ids: list[int], after: int) -> list[bool]:
    """Which ids are the assistant's, of its messages from number ``after`` on (for marks: of all)."""
    marks = marked(tokenizer, bool(talk.tools))
    own = _by_marks(tokenizer, talk, ids) if marks else [False] * len(ids)
    for at in range(after, len(talk)):
        learnt = not unlearnt(talk[at])
        if talk[at]["role"] == "assistant" and learnt != marks:
            start, end = _span(tokenizer, talk, at, whole, ids)
            own[start:end] = [learnt] * (end - start)
    return own


def unlearnt(message: Message) -> bool:
    """Whether a message says ``"weight": 0``, as in OpenAI's files: the assistant's, and not to be learnt."""
    return message.get("weight") == 0


def _by_marks(tokenizer: Any, talk: Conversation, ids: list[int]) -> list[bool]:
    how = {**options_of(talk), "tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
    for messages in (list(talk), without_null(list(talk))):
        try:
            row = tokenizer.apply_chat_template(messages, **how)
        except (TemplateError, TypeError):  # null content, which the template cannot write
            continue
        if list(row["input_ids"]) == ids:
            return [bool(each) for each in row["assistant_masks"]]
    raise CounterpointError(
        "the chat template writes something else on every call; change tokenizer.chat_template"
    )


def _span(tokenizer: Any, talk: Conversation, at: int, whole: str, ids: list[int]) -> tuple[int, int]:
    """First and one past the last id of a turn of the assistant, by what the conversation gains with it."""
    before = Conversation(talk[:at], talk.tools, talk.options)
    upto = Conversation(talk[: at + 1], talk.tools, talk.options)
    head = encoded(tokenizer, templated(tokenizer, before, reply=True)) if at else []
    start = common(head, ids)
    prefixed = bool(at) and start == len(head)
    if prefixed and at == len(talk) - 1:
        return start, len(ids)
    part = encoded(tokenizer, templated(tokenizer, upto))
    end = common(part, ids)
    rest = tokenizer.decode(part[end:]).replace(tokenizer.eos_token or "\ue009", "").strip()
    if prefixed and not rest and end > start:
        return start, end
    begun, ended = _by_exchange(tokenizer, talk, at, whole, ids)
    return (min(start, begun) if prefixed else begun), ended


def _by_exchange(tokenizer: Any, talk: Conversation, at: int, whole: str, ids: list[int]) -> tuple[int, int]:
    """The same for templates that write a turn differently once others follow: its text is found by exchanging it."""
    content = talk[at]["content"]
    if not content:
        raise CounterpointError(
            "the chat template writes earlier turns differently once others follow, so that a call's tokens cannot be told "
            "from the others'; learn the last turn only (--turns last), or mark the assistant's text in the template by "
            "{% generation %}"
        )
    other = Conversation(talk, talk.tools, talk.options)
    other[at] = {**talk[at], "content": STAND_IN}
    exchanged = templated(tokenizer, other)
    first, last = exchanged.find(STAND_IN), exchanged.rfind(STAND_IN) + len(STAND_IN)
    after = exchanged[last:]
    alone = templated(tokenizer, Conversation(other[: at + 1], talk.tools, talk.options))
    end = alone[alone.rfind(STAND_IN) + len(STAND_IN) :]
    if first < 0 or not whole.endswith(after) or whole[:first] != exchanged[:first]:
        raise CounterpointError(
            "the chat template writes earlier turns differently once others follow, and their text is not in what it "
            "writes; learn the last turn only (--turns last), or mark the assistant's text in the template by {% generation %}"
        )
    text_end = len(whole) - len(after) + common(end, after)
    begun = common(encoded(tokenizer, whole[:first].removesuffix(turn_lead(tokenizer))), ids)
    return begun, common(encoded(tokenizer, whole[:text_end]), ids)


def encoded(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that a template made."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many first items two sequences share."""
    least = min(len(one), len(other))
    return next((at for at in range(least) if one[at] != other[at]), least)
