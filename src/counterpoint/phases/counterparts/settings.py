"""Settings of VC-STaR that its stages share: how the model is asked, and which rows are counterparts (arXiv 2603.02556, 3.1 and 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.pairs.counterparts.matching import Counterparts, counterparts, numbered
from counterpoint.pairs.counterparts.vectors import picture_of, picture_vectors, question_vectors

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
ABOUT = "{question}\nThe answer is: {answer}\nA rationale:\n{rationale}\n"
VERIFY = ABOUT + "Does the image bear out every step of the rationale? Answer with yes or no alone."
CRITICISE = ABOUT + "Say which of its steps the image does not bear out, and what the image shows instead."
REVISE = (
    "A question about an image: {question}\n\nA rationale, which may have misread the image:\n{rationale}\n\nFeedback on it:\n{feedback}\n\n"
    "Correct the rationale by the feedback. Write for a reader who has the image and the question only: do not mention feedback or an answer "
    "that was given. End with a line that begins with 'Answer: '."
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
        verify, criticise: what is asked of a rationale, beside its image, where rationale=verified and where rationale=feedback:
            {question}, {answer} and {rationale}.
        revise: {question}, {rationale} and {feedback}.
    """

    alone: str = "{question}"
    hint: str = HINTED
    alike: str = ALIKE
    unlike: str = UNLIKE
    rethink: str = RETHINK
    bare: str = "Answer: {answer}"
    verify: str = VERIFY
    criticise: str = CRITICISE
    revise: str = REVISE

    def check(self, key: str) -> None:
        """Refuse a wording that leaves out what it is about.

        Raises:
            CounterpointError: with the setting and the field.
        """
        images = ("image", "other_image", "question", "answer", "other_question", "other_answer")
        needed = {
            "alone": ("question",), "hint": ("question", "answer"), "alike": images, "unlike": images, "rethink": ("rationale",),
            "bare": ("answer",), "verify": ("rationale",), "criticise": ("rationale",), "revise": ("rationale", "feedback"),
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
