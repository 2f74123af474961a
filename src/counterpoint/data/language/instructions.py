"""Instructions that a program can check, in the form of IFEval (arXiv 2311.07911): length, case, keywords, format, beginning and end.

A row has ``instruction_id_list`` and ``kwargs`` beside its prompt; ``answer_of`` makes one text of them, which is a problem's answer, and
``follows`` checks a completion against it. Ids and arguments are IFEval's, so that its own file is read; a few more are marked so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from counterpoint.errors import CounterpointError, nearest

SCORER = "instructions"
RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": lambda count, wanted: count >= wanted,
    "less than": lambda count, wanted: count < wanted,
    "at most": lambda count, wanted: count <= wanted,
    "exactly": lambda count, wanted: count == wanted,
}
"""IFEval has the first two."""

Check = Callable[[str, Mapping[str, Any]], bool]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _sentences(text: str) -> int:
    return len([part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if re.search(r"\w", part)])


def _related(count: int, given: Mapping[str, Any], wanted: str, relation: str = "relation") -> bool:
    how = str(given.get(relation) or "at least")
    if how not in RELATIONS:
        raise CounterpointError(f"an instruction's {relation} is {how!r}; {nearest(how, RELATIONS)}")
    return RELATIONS[how](count, int(given[wanted]))


def _is_json(text: str) -> bool:
    bare = re.sub(r"^```(?:json)?|```$", "", text.strip(), flags=re.IGNORECASE).strip()
    try:
        json.loads(bare)
    except ValueError:
        return False
    return True


def _occurrences(text: str, word: str) -> int:
    return len(re.findall(rf"\b{re.escape(word)}\b", text, re.IGNORECASE))


CHECKS: dict[str, Check] = {
    "length_constraints:number_words": lambda text, given: _related(len(_words(text)), given, "num_words"),
    "length_constraints:number_sentences": lambda text, given: _related(_sentences(text), given, "num_sentences"),
    "length_constraints:number_paragraphs": lambda text, given: (
        len([part for part in re.split(r"\s?\*\*\*\s?", text.strip()) if part.strip()]) == int(given["num_paragraphs"])
    ),
    "length_constraints:number_characters": lambda text, given: _related(len(text.strip()), given, "num_characters"),
    "change_case:english_capital": lambda text, given: text.isupper(),
    "change_case:english_lowercase": lambda text, given: text.islower(),
    "change_case:capital_word_frequency": lambda text, given: _related(
        sum(word.isupper() for word in _words(text)), given, "capital_frequency", "capital_relation"
    ),
    "keywords:existence": lambda text, given: all(_occurrences(text, word) for word in given["keywords"]),
    "keywords:forbidden_words": lambda text, given: not any(
        _occurrences(text, word) for word in given["forbidden_words"]
    ),
    "keywords:frequency": lambda text, given: _related(_occurrences(text, given["keyword"]), given, "frequency"),
    "keywords:letter_frequency": lambda text, given: _related(
        text.casefold().count(str(given["letter"]).casefold()), given, "let_frequency", "let_relation"
    ),
    "punctuation:no_comma": lambda text, given: "," not in text,
    "startend:start_checker": lambda text, given: text.strip().casefold().startswith(given["start_phrase"].strip().casefold()),
    "startend:end_checker": lambda text, given: text.strip().strip('"').casefold().endswith(given["end_phrase"].strip().casefold()),
    "startend:quotation": lambda text, given: len(text.strip()) > 1 and text.strip()[0] == '"' == text.strip()[-1],
    "detectable_format:number_bullet_lists": lambda text, given: (
        len(re.findall(r"^\s*(?:\*[^*]|-\s?\S)", text, re.MULTILINE)) == int(given["num_bullets"])
    ),
    "detectable_format:json_format": lambda text, given: _is_json(text),
    "detectable_format:title": lambda text, given: any(
        title.strip("<> ") for title in re.findall(r"<<[^\n]+>>", text)
    ),
    "detectable_format:number_highlighted_sections": lambda text, given: (
        sum(bool(each.strip("* \n")) for each in re.findall(r"\*\*?[^\n*]+\*?\*", text)) >= int(given["num_highlights"])
    ),
    "detectable_content:number_placeholders": lambda text, given: (
        len(re.findall(r"\[.*?\]", text)) >= int(given["num_placeholders"])
    ),
}  # fmt: skip
"""What can be checked: id -> (completion, arguments) -> whether it is followed."""
OWN = ("length_constraints:number_characters", "startend:start_checker")
"""Ids that IFEval has not."""


def answer_of(ids: Sequence[str], arguments: Sequence[Mapping[str, Any]], where: str) -> str:
    """Instructions as one text, which a problem's answer holds.

    Args:
        ids, arguments: of each instruction. where: for the message.

    Raises:
        CounterpointError: an id that nobody can check, or arguments that are missing.

    >>> answer_of(["punctuation:no_comma"], [{}], "row 1")
    '{"instructions": [["punctuation:no_comma", {}]]}'
    """
    if len(ids) != len(arguments):
        raise CounterpointError(
            f"{where}: {len(ids)} instructions in instruction_id_list and {len(arguments)} sets of kwargs; give one each"
        )
    listed = []
    for name, given in zip(ids, arguments):
        used = {key: value for key, value in (given or {}).items() if value is not None}
        if name not in CHECKS:
            raise CounterpointError(
                f"{where}: no program here checks the instruction '{name}'; {nearest(name, CHECKS)}"
            )
        try:
            CHECKS[name]("some words.", used)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CounterpointError(
                f"{where}: the instruction '{name}' has kwargs {used}, and needs {error} in them"
            ) from None
        listed.append([name, used])
    return json.dumps({SCORER: listed}, ensure_ascii=False)


def is_answer(answer: str) -> bool:
    """Whether an answer holds instructions."""
    return answer.startswith(f'{{"{SCORER}": ')


def each_followed(completion: str, answer: str) -> list[bool]:
    """Whether each instruction is followed; an empty completion follows none.

    >>> text = answer_of(["punctuation:no_comma", "change_case:english_capital"], [{}, {}], "")
    >>> each_followed("YES.", text), each_followed("Yes, so", text), each_followed(" ", text)
    ([True, True], [False, False], [False, False])
    """
    listed = json.loads(answer)[SCORER]
    return [bool(completion.strip()) and CHECKS[name](completion, given) for name, given in listed]


def follows(completion: str, answer: str) -> float:
    """1 when every instruction is followed (IFEval's strict accuracy by prompt), else 0.

    Raises:
        CounterpointError: the answer holds no instructions.
    """
    if not is_answer(answer):
        raise CounterpointError(
            f"scorer=instructions, and an answer is '{answer[:60]}'; give the rows instruction_id_list and kwargs, as IFEval has them"
        )
    return float(all(each_followed(completion, answer)))
