"""Conversations as token ids, with who wrote each token: the one place where rows of text become rows of ids. No torch.

Ids are those of the whole text, so that nothing is split or joined at the border of prompt and completion. A completion begins
where the ids of the prompt (with what announces a reply) and those of the whole part, as in TRL. The assistant's tokens are those
between the template's ``{% generation %}`` marks, or, where it has none, those by which the conversation up to a turn and the one
before it differ: the turn's text and its end, as the template writes them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from counterpoint.conversation import (
    Completion,
    Conversation,
    Message,
    Prompt,
    Text,
    replies,
    turns,
)
from counterpoint.errors import CounterpointError
from counterpoint.models.language.templates import carries_template, marked, turn_end, turn_lead

logger = logging.getLogger("counterpoint")
STAND_IN = "\ue006\ue007\ue008"


@dataclass(frozen=True)
class Rendered:
    """One row.

    Attributes:
        ids: of the whole row.
        authored: for each id, whether the assistant wrote it and it belongs to the completion.
        start: how many ids precede the completion.
    """

    ids: list[int]
    authored: list[bool]
    start: int


def render(tokenizer: Any, rows: Sequence[tuple[Prompt, Completion]]) -> list[Rendered]:
    """Ids, authors and borders of prompts with their completions.

    Args:
        tokenizer: with its chat template, if it has one.
        rows: a prompt and what follows it; text without a template is read as it stands, with the end-of-sequence token after it.

    Raises:
        CounterpointError: messages for a tokenizer without a template; messages that the template refuses; turns whose
            tokens cannot be distinguished from the others'.

    >>> from counterpoint.models.language.characters import tokenizer
    >>> [row] = render(tokenizer(), [("1+1=", "2")])
    >>> row.start, tokenizer().decode(row.ids[row.start:])
    (6, '2</s>')
    """
    plain = [_as_text(tokenizer, prompt, completion) for prompt, completion in rows]
    heads, wholes, special = [], [], []
    for (prompt, completion), text in zip(rows, plain):
        if text is not None:
            heads.append(text[0])
            wholes.append(text[1])
        else:
            talk = turns(prompt)
            heads.append(templated(tokenizer, talk, reply=True))
            wholes.append(templated(tokenizer, _joined(tokenizer, talk, completion)))
        special.append(text is not None)
    head_ids, whole_ids = _ids(tokenizer, heads, special), _ids(tokenizer, wholes, special)
    result = []
    for at, (prompt, completion) in enumerate(rows):
        ids = whole_ids[at]
        start = _common(head_ids[at], ids)
        if start < len(head_ids[at]):
            _say_border(tokenizer.decode(head_ids[at][start:]))
        # The first id of a row is predicted by nothing: it cannot be learnt.
        start = max(start, 1)
        authored = [position >= start for position in range(len(ids))]
        if plain[at] is None and (marked(tokenizer) or not _one_turn(completion)):
            talk = turns(prompt)
            own = _authors(tokenizer, _joined(tokenizer, talk, completion), wholes[at], ids, len(talk))
            authored = [a and b for a, b in zip(authored, own)]
            if not any(authored):
                raise CounterpointError(
                    "no token of the completion is the assistant's: the template's generation marks enclose none of them; "
                    "change tokenizer.chat_template"
                )
        result.append(Rendered(ids, authored, start))
    return result


def conversation(tokenizer: Any, messages: list[Message]) -> Rendered:
    """Ids of a whole conversation and which of them the assistant wrote, all turns.

    >>> from counterpoint.models.language.characters import tokenizer
    >>> talk = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "+1?"}]
    >>> row = conversation(tokenizer(), talk)
    >>> tokenizer().decode([number for number, own in zip(row.ids, row.authored) if own])
    '2</s>'
    """
    talk = turns(messages)
    whole = templated(tokenizer, talk)
    [ids] = _ids(tokenizer, [whole], [False])
    return Rendered(ids, _authors(tokenizer, talk, whole, ids, 0), 0)


def prompt_ids(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Ids of prompts, ready for the assistant's turn; a conversation that ends with the assistant's turn is continued."""
    special = [_is_text(tokenizer, prompt) for prompt in prompts]
    texts = [
        str(prompt) if plain else templated(tokenizer, turns(prompt), reply=True, go_on=True)
        for prompt, plain in zip(prompts, special)
    ]
    return _ids(tokenizer, texts, special)


def _is_text(tokenizer: Any, prompt: Prompt) -> bool:
    """Whether a prompt is read as it stands."""
    if isinstance(prompt, Text) or not tokenizer.chat_template:
        if isinstance(prompt, str):
            return True
        raise CounterpointError(
            "the rows are conversations, and this model's tokenizer has no chat template to write them with; name one, e.g. "
            "--data-option template=chatml (or a .jinja file), take a model that was tuned for conversations, or give rows of text"
        )
    if isinstance(prompt, str) and carries_template(tokenizer, prompt):
        _say_carried()
        return True
    return False


def _as_text(tokenizer: Any, prompt: Prompt, completion: Completion) -> tuple[str, str] | None:
    """Prompt and whole as text where no template is applied; None where one is."""
    if not _is_text(tokenizer, prompt):
        return None
    if not isinstance(completion, str):
        raise CounterpointError(
            "the prompt is text that is read as it stands, and its completion is messages; write both the same way"
        )
    raw = isinstance(prompt, Text) or not tokenizer.chat_template
    end = (tokenizer.eos_token or "") if raw else turn_end(tokenizer)
    ended = any(mark and completion.endswith(mark) for mark in (end, end.strip(), tokenizer.eos_token))
    return str(prompt), str(prompt) + completion + ("" if ended else end)


def _joined(tokenizer: Any, talk: Conversation, completion: Completion) -> Conversation:
    """The whole conversation; text that brings its end along does not get a second one."""
    if isinstance(completion, str):
        for end in (turn_end(tokenizer), turn_end(tokenizer).strip(), tokenizer.eos_token):
            completion = completion.removesuffix(end or "")
    return Conversation([*talk, *replies(completion)], talk.tools, talk.options)


def _one_turn(completion: Completion) -> bool:
    return isinstance(completion, str) or (len(completion) == 1 and completion[0]["role"] == "assistant")


def templated(tokenizer: Any, talk: Conversation, *, reply: bool = False, go_on: bool = False) -> str:
    """What the template makes of messages."""
    continued = go_on and bool(talk) and talk[-1]["role"] == "assistant"
    given = {**_options(talk), "tokenize": False, "add_generation_prompt": reply and not continued}
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
    _check_tools(talk, text)
    return text


def _check_tools(talk: Conversation, text: str) -> None:
    """Calls that a template leaves out would be learnt as empty turns."""
    for message in talk:
        for call in message.get("tool_calls") or ():
            name = (call.get("function") or call).get("name") if isinstance(call, dict) else None
            if name and str(name) not in text:
                raise CounterpointError(
                    f"a message calls the tool {name!r}, and the model's chat template does not write calls of tools; take a model "
                    "that knows tools, change tokenizer.chat_template, or write the call as text"
                )
    names = [(tool.get("function") or tool).get("name") for tool in talk.tools if isinstance(tool, dict)]
    if any(name and str(name) not in text for name in names):
        _say(
            "tools",
            "rows describe tools, and the model's chat template does not write them: the model does not see them",
        )


def _options(talk: Conversation) -> dict[str, Any]:
    # Some templates write about tools wherever a list is given, even an empty one.
    return {"tools": talk.tools or None, **talk.options}


def _without_none(tokenizer: Any, talk: list[Message], given: dict[str, Any]) -> str:
    """A call of a tool has no content: null as it is given, or "" where the template would write "None" for it."""
    if all(message["content"] is not None for message in talk):
        return tokenizer.apply_chat_template(talk, **given)
    emptied = [message if message["content"] is not None else {**message, "content": ""} for message in talk]
    other: str = tokenizer.apply_chat_template(emptied, **given)
    try:
        written: str = tokenizer.apply_chat_template(talk, **given)
    except (TemplateError, TypeError):
        return other
    return other if written.count("None") > other.count("None") else written


def _ids(tokenizer: Any, texts: list[str], special: list[bool]) -> list[list[int]]:
    """Ids of texts; ``special`` rows get what the tokenizer puts around plain text, but nothing twice."""
    result: list[list[int]] = [[] for _ in texts]
    for kind in (False, True):
        places = [at for at, each in enumerate(special) if each == kind]
        if not places:
            continue
        for at, ids in zip(
            places, tokenizer([texts[at] for at in places], add_special_tokens=kind)["input_ids"]
        ):
            result[at] = _once(tokenizer, texts[at], ids) if kind else ids
    return result


def _once(tokenizer: Any, text: str, ids: list[int]) -> list[int]:
    """Without a second start token, and without an end token that the text itself does not have."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        ids = ids[1:]
    if (
        eos is not None
        and ids[-1:] == [eos]
        and (not text.endswith(tokenizer.eos_token) or ids[-2:] == [eos, eos])
    ):
        ids = ids[:-1]
    return ids


def _authors(tokenizer: Any, talk: Conversation, whole: str, ids: list[int], after: int) -> list[bool]:
    """Which ids are the assistant's, of its messages from number ``after`` on (for marks: of all)."""
    if marked(tokenizer, bool(talk.tools)):
        return _by_marks(tokenizer, talk, ids)
    own = [False] * len(ids)
    for at in range(after, len(talk)):
        if talk[at]["role"] == "assistant":
            start, end = _span(tokenizer, talk, at, whole, ids)
            own[start:end] = [True] * (end - start)
    return own


def _by_marks(tokenizer: Any, talk: Conversation, ids: list[int]) -> list[bool]:
    how = {**_options(talk), "tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
    encoded = tokenizer.apply_chat_template(list(talk), **how)
    if list(encoded["input_ids"]) != ids:
        raise CounterpointError(
            "the chat template writes something else on every call; change tokenizer.chat_template"
        )
    return [bool(each) for each in encoded["assistant_masks"]]


def _span(tokenizer: Any, talk: Conversation, at: int, whole: str, ids: list[int]) -> tuple[int, int]:
    """First and one past the last id of a turn of the assistant, by what the conversation gains with it."""
    before = Conversation(talk[:at], talk.tools, talk.options)
    upto = Conversation(talk[: at + 1], talk.tools, talk.options)
    head = _encoded(tokenizer, templated(tokenizer, before, reply=True)) if at else []
    start = _common(head, ids)
    prefixed = bool(at) and start == len(head)
    if prefixed and at == len(talk) - 1:
        return start, len(ids)
    part = _encoded(tokenizer, templated(tokenizer, upto))
    end = _common(part, ids)
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
    text_end = len(whole) - len(after) + _common(end, after)
    begun = _common(_encoded(tokenizer, whole[:first].removesuffix(turn_lead(tokenizer))), ids)
    return begun, _common(_encoded(tokenizer, whole[:text_end]), ids)


def _encoded(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many first items two sequences share."""
    least = min(len(one), len(other))
    return next((at for at in range(least) if one[at] != other[at]), least)


def _say(what: str, line: str) -> None:
    """Once a process for each thing there is to say."""
    if what not in _warned:
        _warned.add(what)
        logger.warning(line)


_warned: set[str] = set()


def _say_carried() -> None:
    _say(
        "carried",
        "prompts carry the model's chat template already and are read as they stand (--data-option format=chat would put them "
        "into a turn of the user, format=text reads every row of text as it stands)",
    )


def _say_border(first: str) -> None:
    _say(
        "border",
        "some completions begin before the end of their prompt, because the whole is written or tokenised differently there; "
        f"first: {first!r}",
    )
