"""The token ids between two turns of the assistant: what a template writes for other people's messages and to announce a reply.

An episode is a prompt, then sampled ids and these in turn. Sampled ids are carried over as they are: nothing that the model wrote is
decoded and encoded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from counterpoint.conversation import Conversation, Message
from counterpoint.errors import CounterpointError
from counterpoint.models.language.templated import templated
from counterpoint.models.language.templates import turn_end

USER, ASSISTANT = "\ue000\ue001", "\ue002\ue003"


def ids_between(tokenizer: Any, messages: Sequence[Message], talk: Conversation, ended: int) -> list[int]:
    """Ids that follow a finished turn of the assistant: the messages, and what announces the assistant's next turn.

    Args:
        tokenizer: with its chat template.
        messages: of a tool or the user.
        talk: the conversation, for its tools and template arguments.
        ended: the id that ended the turn; what the template writes after it belongs here.

    Raises:
        CounterpointError: no chat template, or one that writes an earlier turn differently once others follow.

    >>> from counterpoint.models.language.characters import tokenizer
    >>> names = tokenizer()
    >>> names.decode(ids_between(names, [{"role": "user", "content": "+1?"}], Conversation(), names.eos_token_id))
    '<s>+1?~'
    """
    if not tokenizer.chat_template:
        raise CounterpointError(
            "an episode of several turns needs a chat template to write them with; name one, e.g. --data-option "
            "template=chatml (or a .jinja file), or take a model that was tuned for conversations"
        )
    start = [{"role": "user", "content": USER}, {"role": "assistant", "content": ASSISTANT}]
    before = templated(tokenizer, Conversation(start, talk.tools, talk.options))
    after = templated(tokenizer, Conversation([*start, *messages], talk.tools, talk.options), reply=True)
    end = turn_end(tokenizer)
    head = before[: before.rfind(ASSISTANT) + len(ASSISTANT)]
    if not after.startswith(head):
        raise CounterpointError(
            "the chat template writes a turn of the assistant differently once others follow, so that the tokens between two "
            "turns cannot be known; change tokenizer.chat_template so that earlier turns stay as they were written"
        )
    rest = after[len(head) :]
    # The model wrote the token that ends a turn; a line break that the template puts after it is the template's.
    mark = tokenizer.decode([ended])
    if rest.startswith(end) and end.startswith(mark):
        rest = rest[len(mark) :]
    ids: list[int] = tokenizer(rest, add_special_tokens=False)["input_ids"]
    return ids
