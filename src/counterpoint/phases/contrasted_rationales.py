"""The stages of VC-STaR that write: alone, with the answer as a hint, beside the counterpart, and rethought (arXiv 2603.02556, 3.2).

Each is a durable stage of the run. N rows of the data; what a stage is about is some of them, by their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from counterpoint.conversation import Prompt
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.generation.authors import Author
from counterpoint.generation.samplers import Samples
from counterpoint.judges.judge import Judge
from counterpoint.pairs.counterparts import Counterparts, counterparts, numbered
from counterpoint.pairs.picture_vectors import picture_of, picture_vectors, question_vectors
from counterpoint.pairs.two_pictures import beside, filled, with_hint
from counterpoint.phases.self_training import SHARD, judge_answers, sample_answers
from counterpoint.training import Run
from counterpoint.training.seeds import derive

HINTED = (
    "{question}\nThe answer is: {answer}\nExplain step by step what in the image leads to it, and end with a line that begins with "
    "'Answer: '."
)
PAIR = (
    "{image}\nQuestion about this image: {question}\nIts answer: {answer}\n\n{other_image}\nQuestion about that image: {other_question}\n"
    "Its answer: {other_answer}\n\n"
)
END = (
    " Then answer the second question and, last of all, the first one, on a line that begins with 'Answer: '."
)
ALIKE = (
    PAIR + "Say exactly what each image shows that bears on its question, and what both have in common." + END
)
UNLIKE = (
    PAIR
    + "Say exactly what each image shows that bears on its question, and in which details they differ."
    + END
)
RETHINK = (
    "A question about an image: {question}\n\nA rationale, which may have misread the image:\n{rationale}\n\nNotes by somebody who "
    "compared the image with a similar one and read it more closely:\n{contrast}\n\nCorrect the rationale by the notes. Write for a reader "
    "who has this one image and this question only: do not mention another image, notes, a comparison or an answer that was given. End "
    "with a line that begins with 'Answer: '."
)


@dataclass
class Wording:
    """How the model is asked: a group of settings. The paper's texts were not to be had; these are reconstructed.

    Attributes:
        alone: the question as it is asked without help, in training and afterwards, with the field {question}.
        hint: with its answer, {question} and {answer}.
        alike, unlike: two questions with the same answer, and with different ones: {image}, {question}, {answer}, and {other_image},
            {other_question}, {other_answer}.
        rethink: {question}, {rationale} and {contrast}.
        bare: what is learnt where rationale=answer, with {answer}.
    """

    alone: str = "{question}"
    hint: str = HINTED
    alike: str = ALIKE
    unlike: str = UNLIKE
    rethink: str = RETHINK
    bare: str = "Answer: {answer}"

    def check(self, key: str) -> None:
        """Refuse a wording that leaves out what it is about.

        Raises:
            CounterpointError: with the setting and the field.
        """
        images = ("image", "other_image", "question", "answer", "other_question", "other_answer")
        needed = {
            "alone": ("question",), "hint": ("question", "answer"), "alike": images, "unlike": images, "rethink": ("rationale",),
            "bare": ("answer",),
        }  # fmt: skip
        for name, fields in needed.items():
            missing = [each for each in fields if "{" + each + "}" not in getattr(self, name)]
            if missing:
                raise CounterpointError(
                    f"{key}: wording.{name} has no field {{{missing[0]}}}; it needs {', '.join('{' + each + '}' for each in fields)}"
                )


@dataclass
class Pairing:
    """Which rows are counterparts: a group of settings.

    Attributes:
        question_limit, image_limit: the greatest cosine distances, exclusive.
        diagram_limit: that of images in the data sets named by ``diagrams`` (icons, charts, geometry).
        diagrams: names in the data's column ``dataset``, with commas between.
        closest: images nearer than this are taken for the same one.
        only: counterparts of the same answer ("positive"), of another ("negative"), or "both".
        question_encoder: "minilm", "tfidf", or the folder of a sentence encoder.
        image_encoder: "efficientnet-lite0", "pixels", or the folder of a vision model.
    """

    question_limit: float = 0.15
    image_limit: float = 0.5
    diagram_limit: float = 0.3
    diagrams: str = ""
    closest: float = 1e-4
    only: Literal["both", "positive", "negative"] = "both"
    question_encoder: str = "minilm"
    image_encoder: str = "efficientnet-lite0"


def paired(run: Run, rows: Sequence[Problem], how: Pairing) -> Counterparts:
    """Each row's counterpart, as a durable stage."""
    return Counterparts(**run.stage("counterparts", lambda: vars(neighbours(rows, how))))


def neighbours(rows: Sequence[Problem], how: Pairing) -> Counterparts:
    """Each row's counterpart among rows of one picture each.

    Raises:
        CounterpointError: a name among ``diagrams`` that is no row's data set; an encoder that there is not.
    """
    datasets = [str(row.meta.get("dataset", "")) for row in rows]
    diagrams = {name.strip() for name in how.diagrams.split(",") if name.strip()}
    unseen = diagrams - set(datasets)
    if unseen:
        raise CounterpointError(
            f"pairing.diagrams: no row has '{min(unseen)}' in its column 'dataset'; there are {', '.join(sorted(set(datasets)))[:200] or 'none'}"
        )
    limits = [how.diagram_limit if name in diagrams else how.image_limit for name in datasets]
    return counterparts(
        picture_vectors(rows, how.image_encoder),
        question_vectors([row.question for row in rows], how.question_encoder),
        numbered(datasets),
        numbered([picture_of(row)["sha256"] for row in rows]),
        numbered([" ".join(row.answer.casefold().split()) for row in rows]),
        visual_limit_N=torch.tensor(limits, dtype=torch.float64),
        question_limit=how.question_limit,
        closest=how.closest,
        only=how.only,
    )


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
        prompts = [alone(rows[at], self.wording) for at in numbers]
        return self._attempts("alone", rows, numbers, prompts, count, part=0)

    def hinted(self, rows: Sequence[Problem], numbers: Sequence[int], count: int) -> Attempts:
        """Each row with its answer."""
        prompts = [with_hint(rows[at], self.wording.hint) for at in numbers]
        return self._attempts("hinted", rows, numbers, prompts, count, part=1)

    def contrasted(
        self, rows: Sequence[Problem], numbers: Sequence[int], count: int, pairs: Counterparts
    ) -> Attempts:
        """Each row beside its counterpart, with both answers."""
        prompts: list[Prompt] = []
        for at in numbers:
            template = self.wording.alike if int(pairs.positive[at]) == 1 else self.wording.unlike
            prompts.append(beside(rows[at], rows[int(pairs.index[at])], template))
        return self._attempts("contrasted", rows, numbers, prompts, count, part=2)

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
        problems = [rows[at] for at in numbers]
        worded = [replace(row, prompt=prompt) for row, prompt in zip(problems, prompts)]
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


def alone(problem: Problem, wording: Wording) -> Prompt:
    """A problem's prompt as it is asked without help."""
    return with_hint(problem, wording.alone)


def rethought(
    run: Run, author: Author, questions: Sequence[tuple[str, str, str]], wording: Wording, number: int
) -> list[str]:
    """Rationales corrected by what contrasting showed, as a durable stage.

    Args:
        questions: each with its question, rationale and contrast. number: of the round.
    """

    def written(shard: Sequence[int]) -> list[str]:
        prompts: list[Prompt] = [
            filled(
                wording.rethink,
                question=questions[at][0],
                rationale=questions[at][1],
                contrast=questions[at][2],
            )
            for at in shard
        ]
        seed = derive(run.seed, "rethink", number, shard[0])
        return [each["text"] for each in author(prompts, seed)]

    return run.stage("rethought", written, over=range(len(questions)), size=SHARD)
