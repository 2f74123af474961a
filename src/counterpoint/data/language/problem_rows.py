"""One row of a file of problems, in any of TRL's forms: prompt and completion, a whole conversation, a question with an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from counterpoint.conversation import Conversation, Message, Prompt, Text, text_of, turns
from counterpoint.data.language.answer import final_answer
from counterpoint.data.language.instructions import answer_of
from counterpoint.data.language.messages import (
    IMAGES,
    WHOLE,
    completion,
    conversation,
    has_text,
    simplest,
    whole_conversation,
    with_pictures,
)
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError, nearest

ALIASES = {
    "prompt": ("prompt", "question", "instruction", "problem", "query", "input"),
    "solution": ("completion", "solution", "rationale", "response", "output", "reasoning", "chosen"),
    "answer": ("answer", "final_answer", "ground_truth", "target", "label"),
    "hint": ("hint", "privileged_context", "privileged"),
}
"""Column names that are understood without being told, in order of preference."""
SYSTEM = ("system", "system_prompt")
"""Columns of what the system says before a prompt."""
ALSO = (
    "text",
    "tools",
    "chat_template_kwargs",
    "history",
    "rationales",
    "dataset",
    "instruction_id_list",
    "kwargs",
)
"""Other columns that a row is read from."""


def read_from(names: Sequence[str], columns: Mapping[str, str | None]) -> set[str]:
    """The columns among ``names`` that rows are read from; see ``parse``.

    >>> sorted(read_from(["question", "context", "answer", "source"], {}))
    ['answer', 'question']
    """
    columns_read = {name for part in ALIASES.values() for name in part} | {*SYSTEM, *ALSO, *WHOLE, *IMAGES}
    columns_read |= {name for name in columns.values() if name} | (
        {"context"} if "instruction" in names else set()
    )
    return columns_read.intersection(names)


def parse(row: dict[str, Any], columns: dict[str, str | None], path: Path, number: int) -> Problem:
    """Understand one row.

    Args:
        row: columns and values. columns: names of the columns for prompt, solution, answer and hint, where given.
        path, number: for the message when the row cannot be understood.

    Raises:
        CounterpointError: no prompt, a column that is not there, what is no text.
    """
    fields: dict[str, Any] = {}
    for part, given in columns.items():
        if given is not None and given not in row:
            raise CounterpointError(
                f"{path}, row {number}: no column '{given}' for {part}; {nearest(given, row)}"
            )
        name = given or _filled(row, ALIASES[part])
        fields[part] = row[name] if name else ""
    where = f"{path}, row {number}"
    talk = None if fields["prompt"] else whole_conversation(row, where)
    if talk is not None:
        led = _led(conversation(talk, row, where), row, where)
        made = _whole(turns(with_pictures(led, row, where, path)))
        return replace(made, **_texts(fields, where))
    if not fields["prompt"] and has_text(row):
        return Problem(Text(""), solution=row["text"])
    if not fields["prompt"]:
        empty = columns.get("prompt") or next((name for name in ALIASES["prompt"] if name in row), None)
        what = "no prompt" if empty is None else f"nothing in '{empty}'"
        raise CounterpointError(
            f"{where}: {what} among the columns {', '.join(map(str, row))}; expected 'prompt' (with "
            "'completion' and 'answer'), 'question' and 'answer', or 'messages', or 'text'; or name it, e.g. --data-option prompt=text"
        )
    beside = "input" if row.get("input") else "context"
    if (
        row.get("instruction")
        and row.get(beside)
        and fields["prompt"] == row["instruction"]
        and columns.get("hint") != beside
    ):
        fields["prompt"] = f"{row['instruction']}\n{row[beside]}"
    given = fields["prompt"]
    if not isinstance(given, str | list):
        raise CounterpointError(
            f"{where}: a prompt must be text or a list of {{'role': ..., 'content': ...}}, got {type(given).__name__}"
        )
    prompt: Prompt = given if isinstance(given, str) else conversation(given, row, where)
    prompt = with_pictures(_led(prompt, row, where), row, where, path)
    reply = completion(fields["solution"], where, "the completion")
    texts = _texts(fields, where)
    if "####" in texts["answer"] or "\\boxed" in texts["answer"]:  # worked solution and answer in one column
        reply, texts["answer"] = reply or texts["answer"], final_answer(texts["answer"])
    if isinstance(row.get("instruction_id_list"), list) and not texts["answer"]:
        ids = list(row["instruction_id_list"])
        texts["answer"] = answer_of(ids, list(row.get("kwargs") or [{} for _ in ids]), where)
    after = () if isinstance(reply, str) else tuple(reply)
    return Problem(
        prompt=prompt,
        solution=text_of(reply),
        messages=after,
        meta=_rationales(row, where) | _dataset(row),
        **texts,
    )


def _filled(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of these columns that has something in this row."""
    for name in names:  # a loop: rows are understood by the million
        if row.get(name) not in (None, ""):
            return name
    return None


def _led(prompt: Prompt, row: Mapping[str, Any], where: str) -> Prompt:
    """A prompt after what the row's system says and after earlier turns, pairs of a question and its answer in ``history``.

    Raises:
        CounterpointError: a system that is no text, or a history of something else.
    """
    named = _filled(row, SYSTEM)
    system = row[named] if named else ""
    past = row.get("history")
    past = [] if past is None or past == "" else past
    if not system and past == []:
        return prompt
    if not isinstance(system, str):
        raise CounterpointError(f"{where}: what the system says is {system!r}; expected text")
    pairs = (
        [list(pair) if isinstance(pair, list | tuple) else [] for pair in past]
        if isinstance(past, list | tuple)
        else [[]]
    )
    if not all(len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in pairs):
        raise CounterpointError(
            f"{where}: 'history' is {str(past)[:60]}; expected earlier turns, [[question, answer], ...]; rename a column that means "
            "something else"
        )
    talk = turns(prompt)
    before: list[Message] = []
    if system and talk[0]["role"] not in ("system", "developer"):
        before.append({"role": "system", "content": system})
    for question, answer in pairs:
        before += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Conversation([*before, *talk], talk.tools, talk.options)


def _rationales(row: dict[str, Any], where: str) -> dict[str, Any]:
    """What a teacher wrote to the prompt, several texts, where the row has a column of them."""
    given = row.get("rationales")
    if not given:
        return {}
    texts = list(given) if isinstance(given, list | tuple) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise CounterpointError(
            f"{where}: 'rationales' must be a list of texts, what a teacher wrote to the prompt, such as "
            '["2+2 is 4. Answer: 4", "2+2 is 5. Answer: 5"]'
        )
    return {"rationales": texts}


def _dataset(row: dict[str, Any]) -> dict[str, Any]:
    """Which of several sets of a mixed file the row is from, where it has a column that says so."""
    name = row.get("dataset")
    return {"dataset": name} if isinstance(name, str) and name else {}


def _texts(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """The columns that are text, whatever form they have."""
    return {part: text_of(completion(fields[part], where, f"the {part}")) for part in ("answer", "hint")}


def _whole(talk: Conversation) -> Problem:
    """A problem from a whole conversation: its last turn of the assistant is the solution, if it ends with one."""
    first = next((at for at, message in enumerate(talk) if message["role"] == "assistant"), None)
    if talk[-1]["role"] != "assistant" or len(talk) < 2 or first is None:
        return Problem(talk)
    last = simplest(talk[-1:])
    return Problem(
        Conversation(talk[:-1], talk.tools, talk.options),
        solution=text_of(last),
        messages=() if isinstance(last, str) else tuple(last),
        opening=first if 0 < first < len(talk) - 1 else None,
    )
