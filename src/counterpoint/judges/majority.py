"""A judge without knowledge: what most answers to a prompt agree on counts as right (self-consistency, arXiv 2203.11171)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from counterpoint.data.language.answer import Answers, final_answer, number
from counterpoint.data.language.problem import Problem
from counterpoint.judges.judge import Verdicts


def same_answer(completion: str) -> str:
    """The final answer in a form in which equal answers are equal texts: a number's value, else the text, casefolded.

    >>> same_answer("Answer: 12.0") == same_answer("that is 12"), same_answer("Answer: Paris.")
    (False, 'paris')
    >>> same_answer("Answer: 12.0") == same_answer("Answer: 12")
    True
    """
    named = final_answer(completion)
    value = number(named)
    if value is not None and named.strip(" .$").replace(",", "").lstrip("+-").replace(".", "").isdigit():
        return format(value.normalize(), "f")
    return " ".join(named.split()).strip(" .").casefold()


@dataclass(frozen=True)
class Voted:
    """A teacher's rationales to one problem, by the vote of their answers.

    Attributes:
        positive: the distinct ones whose answer is the majority's, of equally frequent answers the first.
        negative: the distinct others.
        answer: the majority's, as it was first written; empty where there is no rationale.
    """

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    answer: str


def by_vote(texts: Sequence[str]) -> Voted:
    """Divide rationales by their final answers.

    >>> by_vote(["so #### 4", "well #### 5", "2+2 #### 4.0", "so #### 4"])
    Voted(positive=('so #### 4', '2+2 #### 4.0'), negative=('well #### 5',), answer='4')
    """
    distinct = list(dict.fromkeys(text for text in texts if text.strip()))
    votes = Counter(same_answer(text) for text in texts if text.strip())
    if not votes:
        return Voted((), (), "")
    winner = votes.most_common(1)[0][0]
    positive = tuple(text for text in distinct if same_answer(text) == winner)
    return Voted(
        positive, tuple(text for text in distinct if text not in positive), final_answer(positive[0])
    )


class MajorityVote:
    """Reward 1 for answers that agree with the most frequent final answer to their prompt, the first of equally frequent ones.

    >>> problem = Problem("2+2=")
    >>> answers = [{"ids": [], "text": text, "ended": True} for text in ("4", "5", "4.0")]
    >>> MajorityVote()([problem], [answers]).rewards.tolist()
    [[1.0, 0.0, 1.0]]
    """

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Vote, prompt by prompt; an answer that is empty or was cut off has no vote."""
        rewards, texts = [], []
        for row in answers:
            named = [same_answer(answer["text"]) for answer in row]
            votes = Counter(name for name, answer in zip(named, row) if name and answer["ended"])
            winner, count = votes.most_common(1)[0] if votes else ("", 0)
            rewards.append([float(bool(winner) and name == winner) for name in named])
            texts.append([f"{count} of {len(row)} answer '{winner}'"] * len(row))
        return Verdicts.of(rewards, texts)
