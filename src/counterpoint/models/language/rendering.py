"""Conversations as token ids, with who wrote each token: the one place where rows of text become rows of ids. No torch.

Ids are those of the whole text, so that nothing is split or joined at the border of prompt and completion. A completion begins
where the ids of the prompt (with what announces a reply) and those of the whole part, as in TRL. The assistant's tokens are those
between the template's ``{% generation %}`` marks, or, where it has none, those by which the conversation up to a turn and the one
before it differ: the turn's text and its end, as the template writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from counterpoint.models.language.authors import authors_of, common, unlearnt
from counterpoint.models.language.templated import say, templated
from counterpoint.models.language.templates import carries_template, goes_on, marked, turn_end


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
        start = common(head_ids[at], ids)
        if start < len(head_ids[at]):
            _say_border(tokenizer.decode(head_ids[at][start:]))
        # The first id of a row is predicted by nothing: it cannot be learnt.
        start = max(start, 1)
        authored = [position >= start for position in range(len(ids))]
        if plain[at] is None and (marked(tokenizer) or not _one_turn(completion)):
            talk = turns(prompt)
            own = authors_of(tokenizer, _joined(tokenizer, talk, completion), wholes[at], ids, len(talk))
            authored = [a and b for a, b in zip(authored, own)]
            if not any(authored) and any(map(unlearnt, replies(completion))):
                raise CounterpointError(
                    'no message of the completion is learnt: each has "weight": 0; leave the row out, or the weight'
                )
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
    return Rendered(ids, authors_of(tokenizer, talk, whole, ids, 0), 0)


def prompt_ids(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Ids of prompts, ready for the assistant's turn; a conversation that ends with the assistant's turn is continued."""
    special = [_is_text(tokenizer, prompt) for prompt in prompts]
    for prompt, plain in zip(prompts, special):
        if (
            plain
            and tokenizer.chat_template
            and not isinstance(prompt, Text)
            and goes_on(tokenizer, str(prompt))
        ):
            raise CounterpointError(
                "a prompt carries the model's chat template and goes on after it, so that the assistant would continue other "
                f"words: ...{str(prompt)[-60:]!r}; where a method shows more than the prompt, give rows as messages"
            )
    texts = [
        str(prompt) if plain else templated(tokenizer, turns(prompt), reply=True, go_on=True)
        for prompt, plain in zip(prompts, special)
    ]
    rows = _ids(tokenizer, texts, special)
    if not all(rows):
        raise CounterpointError(
            "a row has no prompt to sample from: rows of text alone are for supervised training (sft); give the others a 'prompt'"
        )
    return rows


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
    if isinstance(completion, str):
        return True
    return len(completion) == 1 and completion[0]["role"] == "assistant" and not unlearnt(completion[0])


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


def _say_carried() -> None:
    say(
        "carried",
        "prompts carry the model's chat template already and are read as they stand (--data-option format=chat would put them "
        "into a turn of the user, format=text reads every row of text as it stands)",
    )


def _say_border(first: str) -> None:
    say(
        "border",
        "some completions begin before the end of their prompt, because the whole is written or tokenised differently there; "
        f"first: {first!r}",
    )
