"""One row of a preference file, in any of TRL's forms, turned into a comparison or a judged answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counterpoint.conversation import Completion, Message, Prompt, text_of
from counterpoint.data.language.messages import completion, conversation, messages, plain, with_pictures
from counterpoint.data.language.prompted import prompt_key
from counterpoint.errors import CounterpointError, nearest


@dataclass(frozen=True)
class Preference:
    """One comparison, or one judged answer.

    Attributes:
        prompt: text of one user turn, or a list of messages.
        chosen: the better answer, text or messages; empty in an unpaired row whose answer is bad.
        rejected: the worse answer; empty in an unpaired row whose answer is good.
        margin: how much better the chosen answer is, where the data say so.
        tie: whether the two answers are equally good; which of them is called chosen then means nothing.
        origin: its file and row, for messages; empty where it was made.
    """

    prompt: Prompt
    chosen: Completion = ""
    rejected: Completion = ""
    margin: float | None = None
    tie: bool = False
    origin: str = field(default="", compare=False, repr=False)

    @property
    def paired(self) -> bool:
        """Whether both answers are there."""
        return bool(self.chosen) and bool(self.rejected)

    def key(self) -> str:
        """The prompt, normalised, for finding duplicates and for splitting."""
        return prompt_key(self.prompt)


def parse(row: dict[str, Any], columns: dict[str, str | None], path: Path, number: int) -> Preference:
    """Understand one row.

    Args:
        row: columns and values. columns: names of the columns for prompt, chosen and rejected, where given.
        path, number: for the message when the row cannot be understood.
    """
    where = f"{path}, row {number}"
    for part, given in columns.items():
        if given is not None and given not in row:
            raise CounterpointError(f"{where}: no column '{given}' for {part}; {nearest(given, row)}")
    prompt, better, worse = (row.get(columns[part] or part) for part in ("prompt", "chosen", "rejected"))
    if better is None and worse is None and "completion" in row:
        return _unpaired(row, prompt, where, path)
    if better in (None, "", []) or worse in (None, "", []):
        missing = "chosen" if better in (None, "", []) else "rejected"
        raise CounterpointError(
            f"{where}: nothing in '{columns[missing] or missing}' among the columns {', '.join(map(str, row))}; expected 'prompt', "
            "'chosen' and 'rejected' (or 'prompt', 'completion' and 'label'), or name them, e.g. --data-option chosen=better"
        )
    if isinstance(better, list) != isinstance(worse, list):
        raise CounterpointError(
            f"{where}: one answer is text and the other a list of messages; write both the same way"
        )
    if isinstance(better, list):
        prompt, better, worse = _messages_apart(prompt, better, worse, where)
    elif prompt in (None, ""):
        prompt, better, worse = _texts_apart(
            plain(better, where, "the answer"), plain(worse, where, "the answer"), where
        )
    tie = _truth(row.get("tie") or False)
    if tie is None:
        raise CounterpointError(f"{where}: tie={row['tie']!r}; expected true or false (1 or 0)")
    return Preference(
        prompt_of(prompt, row, where, path),
        answer_of(better, where),
        answer_of(worse, where),
        _margin(row, where),
        tie,
    )


def _unpaired(row: dict[str, Any], prompt: Any, where: str, path: Path) -> Preference:
    label, answer = row.get("label"), answer_of(row["completion"], where)
    truth = _truth(label)
    if truth is None:
        raise CounterpointError(
            f"{where}: label={label!r}; expected true or false (1 or 0) beside 'completion'"
        )
    parsed = prompt_of(prompt, row, where, path)
    return Preference(parsed, chosen=answer) if truth else Preference(parsed, rejected=answer)


def _truth(value: Any) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())


def _margin(row: dict[str, Any], where: str) -> float | None:
    """How much better the chosen answer is: TRL's column ``margin``."""
    given = row.get("margin")
    if given in (None, ""):
        return None
    try:
        margin = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        margin = math.nan
    if not math.isfinite(margin):
        raise CounterpointError(
            f"{where}: margin={given!r}; expected a number, how much better the chosen answer is"
        )
    return margin


def prompt_of(prompt: Any, row: dict[str, Any], where: str, file: Path) -> Prompt:
    """A row's prompt, text or messages with the row's tools and pictures, whose paths may be beside the ``file``."""
    if isinstance(prompt, str) and prompt.strip():
        return with_pictures(prompt, row, where, file)
    if isinstance(prompt, list) and prompt:
        return with_pictures(conversation(prompt, row, where), row, where, file)
    raise CounterpointError(
        f"{where}: the prompt is {prompt!r}; expected text or a list of {{'role': ..., 'content': ...}}"
    )


def answer_of(value: Any, where: str) -> Completion:
    """An answer, text or messages, that is not empty."""
    answer = completion(value, where, "the answer")
    if not text_of(answer).strip():
        raise CounterpointError(
            f"{where}: the answer is {value!r}; expected text, or messages that end with the assistant's"
        )
    return answer


def _messages_apart(
    prompt: Any, better: list[Any], worse: list[Any], where: str
) -> tuple[Any, list[Message], list[Message]]:
    """Prompt and answers; what both answers begin with belongs to the prompt where they repeat it or it is not given."""
    one, other = messages(better, where), messages(worse, where)
    if one[-1]["role"] != "assistant" or other[-1]["role"] != "assistant":
        raise CounterpointError(f"{where}: chosen and rejected must end with a message of the assistant")
    shared = _shared(one, other, where)
    if isinstance(prompt, list) and prompt:
        given = messages(prompt, where, pictured=True)
        repeated = one[: len(given)] == given == other[: len(given)]
        shared = len(given) if repeated else 0
        return given, one[shared:], other[shared:]
    before = one[:shared]
    if isinstance(prompt, str) and prompt and not any(_says(message, prompt) for message in before):
        before = [{"role": "user", "content": prompt}, *before]
    return before, one[shared:], other[shared:]


def _shared(one: list[Message], other: list[Message], where: str) -> int:
    """How many messages both answers begin with, before the first turn of the assistant that differs."""
    least = min(len(one), len(other))
    shared = next((at for at in range(least) if one[at] != other[at]), least)
    if shared < least and not one[shared]["role"] == other[shared]["role"] == "assistant":
        raise CounterpointError(
            f"{where}: chosen and rejected differ first in a message of the {one[shared]['role']}; a preference compares two "
            "answers to one conversation, so cut both after the first answer that differs"
        )
    while shared == least or one[shared]["role"] != "assistant":  # one answer goes on where the other ends
        shared -= 1
    return shared


def _says(message: Message, text: str) -> bool:
    return (message["content"] or "").strip() == text.strip()


def _texts_apart(better: str, worse: str, where: str) -> tuple[str, str, str]:
    """Split an implicit prompt off: the common beginning, up to the last blank or line break in it."""
    same = 0
    while same < min(len(better), len(worse)) and better[same] == worse[same]:
        same += 1
    cut = max(better.rfind(mark, 0, same) for mark in (" ", "\n", ":")) + 1
    if cut <= 0 or not better[cut:] or not worse[cut:]:
        raise CounterpointError(
            f"{where}: no 'prompt', and chosen and rejected share no beginning that could be one; add the column prompt"
        )
    return better[:cut], better[cut:], worse[cut:]
