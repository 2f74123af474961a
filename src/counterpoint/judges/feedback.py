"""Text feedback on answers that are not right yet, by one setting: what a method of several turns shows the model.

``feedback(problems, answers) -> texts``, one an answer, empty where there is nothing to say. It must not give the answer away:
what is learnt from such a text is to copy it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from counterpoint.data.language.answer import Answers, final_answer
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.prompted import prompt_key
from counterpoint.errors import CounterpointError, nearest
from counterpoint.judges.enclosed import CAUTION, enclosed, question_of, tag_of
from counterpoint.judges.reward_function import call_with_columns, imported
from counterpoint.judges.unit_tests import UnitTests
from counterpoint.judges.writers import Writer, writer
from counterpoint.models.language.language import Language

NAMES = ("verifier", "hint", "file:FILE.jsonl", "critic:MODEL", "MODULE:FUNCTION", "FILE.py:FUNCTION")
Texts = list[list[str]]


class Feedback(Protocol):
    """A noun with one verb; called outside training steps, or in a durable stage of one."""

    costly: bool

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Texts:
        """For each problem and answer a text, or an empty one."""
        ...


class Plain:
    """What a verifier can say without giving anything away: which answer is wrong, or which unit test failed.

    Args:
        scorer: of the data.
    """

    def __init__(self, scorer: str) -> None:
        self.costly, self.tests = scorer == "tests", UnitTests() if scorer == "tests" else None

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Texts:
        """A line an answer."""
        if self.tests is not None:
            return self.tests(problems, answers).texts
        return [[f"{final_answer(a['text'])[:200]!r} is not the answer." for a in row] for row in answers]


class Hints:
    """The data's hint column, the same for every answer to a problem."""

    costly = False

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Texts:
        """The problem's hint.

        Raises:
            CounterpointError: a problem without one.
        """
        for problem in problems:
            if not problem.hint:
                raise CounterpointError(
                    f"'{problem.question[:60]}' has no hint; give the data a 'hint' column, or use another feedback"
                )
        return [[problem.hint for _ in row] for problem, row in zip(problems, answers, strict=True)]


class Written:
    """Feedback from a JSONL file: rows with "prompt" and "feedback", and "answer" where a row is about one answer alone.

    Args:
        file: the JSONL file.

    Raises:
        CounterpointError: no such file, or a line that cannot be read.
    """

    costly = False

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        if not self.file.is_file():
            raise CounterpointError(f"feedback=file:{file}: there is no such file")
        self.texts: dict[tuple[str, str], str] = {}
        for at, line in enumerate(self.file.read_text(encoding="utf-8-sig").splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                key = prompt_key(row["prompt"]), str(row.get("answer", "")).strip()
                self.texts[key] = str(row["feedback"])
            except (ValueError, KeyError, TypeError, AttributeError):
                raise CounterpointError(
                    f'{file}, line {at}: {line[:80]}; expected a line such as {{"prompt": "2+2=", "answer": "5", "feedback": "too '
                    'much by one"}, where "answer" may be left out'
                ) from None

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Texts:
        """What the file says of this answer, else of this problem, else nothing."""
        return [
            [self.texts.get((p.key(), a["text"].strip()), self.texts.get((p.key(), ""), "")) for a in row]
            for p, row in zip(problems, answers, strict=True)
        ]


class Critic:
    """A model that says what is wrong with an answer and how to mend it, without the answer itself.

    Args:
        writer: the model that is asked. words: how many it may use.
    """

    def __init__(self, writer: Writer, words: int = 50) -> None:
        self.writer, self.words, self.costly = writer, words, writer.costly

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Texts:
        """One critique an answer."""
        prompts = [self._prompt(p, a["text"]) for p, row in zip(problems, answers, strict=True) for a in row]
        rest = iter(self.writer(prompts))
        return [[next(rest).strip() for _ in row] for row in answers]

    def _prompt(self, problem: Problem, text: str) -> str:
        tag = tag_of(question_of(problem), text)
        reference = (
            f"\n\nThe reference, which must not be given away:\n{problem.reference}"
            if problem.reference
            else ""
        )
        return (
            f"Criticise an attempt at a question, so that its author can do better. {CAUTION.format(tag=tag)}\n\nQuestion:\n"
            f"{question_of(problem)}{reference}\n\n{enclosed('Attempt:', text, tag)}\n\nIn at most {self.words} words, say what is "
            "wrong and where, without the right answer.\nCritique:"
        )


class FeedbackFunction:
    """A function with the signature of TRL's reward functions that gives one text (or None) a completion.

    Args:
        function: ``feedback(prompts, completions, **columns) -> list of texts``.
    """

    costly = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Texts:
        """Call the function once for all answers.

        Raises:
            CounterpointError: it gives another number of texts than there are answers, or something else than texts.
        """
        given = call_with_columns(self.function, problems, answers)
        count = sum(map(len, answers))
        fits = isinstance(given, list | tuple) and len(given) == count
        if not fits or not all(each is None or isinstance(each, str) for each in given):
            raise CounterpointError(
                f"the feedback function gave {str(given)[:80]} for {count} completions; expected a list with one text (or None) "
                "a completion"
            )
        rest = iter(given)
        return [[next(rest) or "" for _ in row] for row in answers]


def feedback(spec: str, *, scorer: str, model: Language) -> Feedback:
    """The feedback that a setting names.

    Args:
        spec: "verifier" (which answer is wrong, or which unit test failed), "hint" (the data's column), "file:FILE.jsonl",
            "critic:MODEL" (as of ``writers.writer``), or a function, "package.module:function" or "file.py:function".
        scorer: of the data. model: "self" as MODEL.

    Raises:
        CounterpointError: no such feedback, with the nearest name.
    """
    name, colon, rest = spec.partition(":")
    if spec == "verifier":
        return Plain(scorer)
    if spec == "hint":
        return Hints()
    if colon and rest:
        if name == "file":
            return Written(rest)
        return Critic(writer(rest, model, 128)) if name == "critic" else FeedbackFunction(imported(spec))
    raise CounterpointError(f"feedback={spec}: there is no such feedback; {nearest(spec, NAMES)}")
