"""The stages of VC-STaR that write: alone, with the answer as a hint, beside the counterpart, and rethought (arXiv 2603.02556, 3.2).

Each is a durable stage of the run. N rows of the data; what a stage is about is some of them, by their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from counterpoint.conversation import Prompt, reworded
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.prompted import Each
from counterpoint.generation.authors import Author
from counterpoint.generation.samplers import Samples
from counterpoint.judges.judge import Judge
from counterpoint.pairs.counterparts.matching import Counterparts
from counterpoint.pairs.counterparts.prompts import beside, filled, with_hint
from counterpoint.phases.counterparts.settings import Pairing, Wording, neighbours
from counterpoint.phases.self_training import SHARD, judge_answers, sample_answers
from counterpoint.training import Run
from counterpoint.training.seeds import derive

ABOUT = 500
"""Random numbers of questions about rationales are counted from here; those of the rounds' other stages from 0."""


def paired(run: Run, rows: Sequence[Problem], how: Pairing) -> Counterparts:
    """Each row's counterpart, as a durable stage."""
    return Counterparts(**run.stage("counterparts", lambda: vars(neighbours(rows, how))))


@dataclass(frozen=True)
class Attempts:
    """What was written to some rows, and which of it was right.

    Attributes:
        texts: by a row's number, its answers. right: by a row's number, for each answer, whether it is.
    """

    texts: Mapping[int, list[str]] = field(default_factory=dict)
    right: Mapping[int, list[bool]] = field(default_factory=dict)

    def rate(self, row: int) -> float:
        """The share of a row's answers that is right; 0 where there are none."""
        marks = self.right.get(row, [])
        return sum(marks) / len(marks) if marks else 0.0

    def best(self, row: int) -> str:
        """A row's first right answer, or the first one."""
        marks = self.right[row]
        return self.texts[row][marks.index(True) if True in marks else 0]


@dataclass(frozen=True)
class Asking:
    """Who answers and who judges, for all stages of a round."""

    run: Run
    sampler: Samples
    judge: Judge
    wording: Wording
    number: int
    """Of the round."""

    def alone(self, rows: Sequence[Problem], numbers: Sequence[int], count: int) -> Attempts:
        """Each row by itself."""
        prompts = Each(numbers, lambda at: alone(rows[at], self.wording))
        return self._attempts("alone", rows, numbers, prompts, count, part=0)

    def hinted(self, rows: Sequence[Problem], numbers: Sequence[int], count: int) -> Attempts:
        """Each row with its answer."""
        prompts = Each(numbers, lambda at: with_hint(rows[at], self.wording.hint))
        return self._attempts("hinted", rows, numbers, prompts, count, part=1)

    def contrasted(
        self, rows: Sequence[Problem], numbers: Sequence[int], count: int, pairs: Counterparts
    ) -> Attempts:
        """Each row beside its counterpart, with both answers."""

        def prompt(at: int) -> Prompt:
            template = self.wording.alike if int(pairs.positive[at]) == 1 else self.wording.unlike
            return beside(rows[at], rows[int(pairs.index[at])], template)

        return self._attempts("contrasted", rows, numbers, Each(numbers, prompt), count, part=2)

    def about(
        self, name: str, template: str, rows: Sequence[Problem], rationales: Sequence[tuple[int, str]]
    ) -> list[str]:
        """What the model writes to a question about a rationale, with its image: one text for each (row's number, rationale)."""

        def worded(number: int) -> Problem:
            at, text = rationales[number]
            row = rows[at]
            words = filled(template, question=row.question, answer=row.answer, rationale=text)
            return replace(row, prompt=reworded(row.prompt, words))

        if not rationales:
            return []
        drawn = sample_answers(
            self.run,
            self.sampler,
            Each(range(len(rationales)), worded),
            1,
            ABOUT + self.number,
            name=name,
        )
        return [row[0]["text"] for row in drawn]

    def _attempts(
        self,
        name: str,
        rows: Sequence[Problem],
        numbers: Sequence[int],
        prompts: Sequence[Prompt],
        count: int,
        part: int,
    ) -> Attempts:
        if not numbers:
            return Attempts()
        problems = Each(numbers, rows.__getitem__)
        worded = Each(range(len(numbers)), lambda n: replace(problems[n], prompt=prompts[n]))
        drawn = sample_answers(self.run, self.sampler, worded, count, 3 * self.number + part, name=name)
        marks = self._marks(name, problems, drawn)
        texts = [[answer["text"] for answer in row] for row in drawn]
        return Attempts(dict(zip(numbers, texts)), dict(zip(numbers, marks)))

    def right(self, name: str, problems: Sequence[Problem], texts: Sequence[str]) -> list[bool]:
        """Whether each text ends in its problem's answer."""
        if not texts:
            return []
        answers = [[Answer(ids=[], text=text, ended=True)] for text in texts]
        return [row[0] for row in self._marks(name, problems, answers)]

    def _marks(
        self, name: str, problems: Sequence[Problem], drawn: Sequence[Sequence[Answer]]
    ) -> list[list[bool]]:
        verdicts = judge_answers(self.run, self.judge, problems, drawn, name=f"{name}-judged")
        return [[bool(mark) for mark in row] for row in verdicts.rewards.ge(0.5).tolist()]


def written(
    asking: Asking,
    author: Author,
    template: str,
    questions: Sequence[Mapping[str, str]],
    verb: str,
    stage: str,
) -> list[str]:
    """Texts of an author, as a durable stage.

    Args:
        template: what is asked. questions: the fields of each. verb: names its random numbers. stage: its name.
    """
    run, number = asking.run, asking.number

    def shard_of(shard: Sequence[int]) -> list[str]:
        prompts: list[Prompt] = [filled(template, **questions[at]) for at in shard]
        return [each["text"] for each in author(prompts, derive(run.seed, verb, number, shard[0]))]

    return run.stage(stage, shard_of, over=range(len(questions)), size=SHARD)


def alone(problem: Problem, wording: Wording) -> Prompt:
    """A problem's prompt as it is asked without help."""
    return with_hint(problem, wording.alone)


def rethought(asking: Asking, author: Author, questions: Sequence[tuple[str, str, str]]) -> list[str]:
    """Rationales corrected by what contrasting showed, as a durable stage.

    Args:
        questions: each with its question, rationale and contrast.
    """
    fields = [{"question": q, "rationale": r, "contrast": c} for q, r, c in questions]
    return written(asking, author, asking.wording.rethink, fields, "rethink", "rethought")
