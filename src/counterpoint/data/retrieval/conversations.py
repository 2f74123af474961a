"""Queries that are turns of a conversation: what was written before them, and rewrites of them that stand alone.

Of ``queries.jsonl``: ``history``, the earlier utterances, the oldest first, as texts (user and system in turn) or messages; or ``messages``,
the whole conversation with the query at its end. ``rewrite``, a text, or ``rewrites``, texts by the names of who wrote them; or
``rewrites/NAME.tsv`` beside it, a table of ``query-id`` and ``text`` for each name. ``topics.json`` as TREC CAsT has it does as queries, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from counterpoint.data.tables.table import Table
from counterpoint.errors import CounterpointError

HISTORY, MESSAGES, ONE, SEVERAL = "history", "messages", "rewrite", "rewrites"


@dataclass
class Turns:
    """What is written about queries, by their ids.

    Attributes:
        history: earlier utterances, the oldest first; of queries that begin a conversation, none.
        rewrites: name of who wrote them -> id of a query -> text.
    """

    history: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rewrites: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return any(self.history.values()) or bool(self.rewrites)


def newest_first(query: str, history: Sequence[str]) -> list[str]:
    """A conversation as an encoder of limited length reads it: what is cut off at its end is the oldest.

    >>> newest_first("and its strings?", ["what is a lute?", "an instrument"])
    ['and its strings?', 'an instrument', 'what is a lute?']
    """
    return [query, *reversed(history)]


def utterances(value: Any, where: str, column: str) -> list[str]:
    """Texts of a list of texts or of messages.

    Raises:
        CounterpointError: anything else.

    >>> utterances([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}], "row 1", "history")
    ['hi', 'hello']
    """
    if value is None:
        return []
    each = (
        [item.get("content") if isinstance(item, Mapping) else item for item in value]
        if isinstance(value, list | tuple)
        else [value]
    )
    if isinstance(value, str | Mapping) or not all(isinstance(text, str) and text.strip() for text in each):
        raise CounterpointError(
            f"{where}: {column}={str(value)[:80]!r}; expected a list of texts, the oldest first, or of messages with 'content'"
        )
    return [str(text).strip() for text in each]


def turns_of(table: Table, ids: Sequence[str]) -> Turns:
    """Histories and rewrites of the rows of a table of queries.

    Args:
        table: of queries. ids: of its rows.

    Raises:
        CounterpointError: a cell of another form.
    """
    turns = Turns()
    columns = {name: table.values(name) for name in (HISTORY, MESSAGES, ONE, SEVERAL) if name in table.names}
    if HISTORY in columns and MESSAGES in columns:
        raise CounterpointError(
            f"{table.path} has columns '{HISTORY}' and '{MESSAGES}'; keep the one that holds the conversations"
        )
    for at, key in enumerate(ids):
        where = table.where(at)
        if HISTORY in columns:
            turns.history[key] = tuple(utterances(columns[HISTORY][at], where, HISTORY))
        if MESSAGES in columns:
            turns.history[key] = tuple(utterances(columns[MESSAGES][at], where, MESSAGES)[:-1])
        for name, text in _rewrites(columns, at, where):
            turns.rewrites.setdefault(name, {})[key] = text
    return turns


def last_of(table: Table, at: int) -> str | None:
    """The query at the end of a row's ``messages``; None where it has none."""
    if MESSAGES not in table.names:
        return None
    texts = utterances(table.values(MESSAGES)[at], table.where(at), MESSAGES)
    return texts[-1] if texts else None


def _rewrites(columns: Mapping[str, Sequence[Any]], at: int, where: str) -> list[tuple[str, str]]:
    several = columns[SEVERAL][at] if SEVERAL in columns else None
    if isinstance(several, list | tuple):
        several = {str(number): text for number, text in enumerate(several, 1)}
    if several is not None and not isinstance(several, Mapping):
        raise CounterpointError(
            f"{where}: {SEVERAL}={str(several)[:80]!r}; expected texts by name, or a list of them"
        )
    pairs = [*(several or {}).items(), *([(ONE, columns[ONE][at])] if ONE in columns else [])]
    for name, text in pairs:
        if text is not None and not isinstance(text, str):
            raise CounterpointError(f"{where}: the rewrite {name!r} is {str(text)[:80]!r}; expected a text")
    return [(str(name), text.strip()) for name, text in pairs if text is not None and text.strip()]


def cast_rows(topics: Sequence[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """Rows of queries of TREC CAsT's topics: ``number``, and ``turn`` with ``number``, ``raw_utterance`` and what there is of
    ``manual_rewritten_utterance``, ``automatic_rewritten_utterance`` and ``response``.

    Raises:
        CounterpointError: topics of another form.

    >>> turn = [{"number": 1, "raw_utterance": "what is a lute?"}, {"number": 2, "raw_utterance": "its strings?"}]
    >>> cast_rows([{"number": 31, "turn": turn}], "topics.json")[1]
    {'_id': '31_2', 'text': 'its strings?', 'history': ['what is a lute?'], 'rewrites': {}}
    """
    rows = []
    for topic in topics:
        past: list[str] = []
        for turn in topic.get("turn") or ():
            text = turn.get("raw_utterance") or turn.get("utterance")
            if not text or "number" not in turn or "number" not in topic:
                raise CounterpointError(
                    f"{where}: a turn of topic {topic.get('number')!r} has no 'number' or no 'raw_utterance'; expected TREC CAsT's form"
                )
            names = {"manual": "manual_rewritten_utterance", "automatic": "automatic_rewritten_utterance"}
            rewrites = {name: turn[column] for name, column in names.items() if turn.get(column)}
            rows.append(
                {
                    "_id": f"{topic['number']}_{turn['number']}",
                    "text": text,
                    "history": list(past),
                    "rewrites": rewrites,
                }
            )
            past += [each for each in (text, turn.get("response") or turn.get("passage")) if each]
    return rows
