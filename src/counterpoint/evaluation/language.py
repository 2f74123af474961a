"""What a language model can do on problems: greedy accuracy, perplexity of references, and how far it has moved.

Everything is greedy or exact, so that the same weights give the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.judges import choose
from counterpoint.judges.verifier import Verifier
from counterpoint.models import passes
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import sequence_log_probs
from counterpoint.models.tokens import Tokens


def greedy_accuracy(
    model: Language, problems: Problems, *, max_new_tokens: int | None = None, at_once: int = 64
) -> dict[str, float]:
    """Answer every problem greedily and score the replies with the problems' scorer.

    Args:
        model: the model.
        problems: a split with answers.
        max_new_tokens: longest reply; None takes that of ``models.passes``, or ``reply_budget``. No reply passes the model's
            positions, whatever it is.
        at_once: problems that are answered together (of similar length, so that little is padding).

    Returns:
        ``accuracy``, the mean score; ``ended``, the share of replies that came to an end; ``reply_tokens``, their mean
        length.

    Raises:
        CounterpointError: no problems, or problems without answers.
    """
    if not len(problems):
        raise CounterpointError("this split holds no problems; give the data a validation and a test part")
    if not problems.scored:
        raise CounterpointError(
            "accuracy needs an answer for every problem; give the data an 'answer' column, or name it: --data-option answer=label; "
            "prompts without answers are measured by a judge of replies: --data-option judge=rewards.py:function (or scored:FOLDER), "
            "or not at all: --no-evaluate"
        )
    verifier = Verifier(problems.scorer)

    def marked(rows: Sequence[Problem], replies: Tokens) -> float:
        return sum(verifier.score(text, row) for text, row in zip(model.texts(replies), rows))

    return _greedy(model, problems, marked, "accuracy", max_new_tokens, at_once)


def greedy_reward(
    model: Language,
    problems: Problems,
    judge: str,
    *,
    max_new_tokens: int | None = None,
    at_once: int = 64,
) -> dict[str, float]:
    """Answer every prompt greedily and let a judge mark the replies, for prompts without answers.

    Args:
        judge: by its name in ``judges.choose``. The others as of ``greedy_accuracy``.

    Returns:
        ``reward``, the mean over the replies that the judge has an opinion of; ``judged``, their share; ``ended`` and
        ``reply_tokens``.

    Raises:
        CounterpointError: no such judge, or one that compares replies to one prompt, of which there is one.
    """
    if judge.partition(":")[0] in ("compared", "majority", "verifier", "intrinsic", "person"):
        raise CounterpointError(
            f"judge={judge} marks replies against one another or against answers, and one reply to each prompt is measured here; "
            "give a reward function (judge=rewards.py:function), scored:FOLDER, rated:MODEL or format:PATTERN"
        )
    marks = choose.judge(judge, scorer=problems.scorer, model=model)
    opinions: list[float] = []

    def marked(rows: Sequence[Problem], replies: Tokens) -> float:
        texts = model.texts(replies)
        answers: Answers = [
            [{"ids": ids, "text": text, "ended": bool(end)}]
            for ids, text, end in zip(replies.rows(), texts, replies.ended.tolist())  # type: ignore[attr-defined]
        ]
        given = [float(value) for value in marks(rows, answers).rewards[:, 0] if not math.isnan(value)]
        opinions.extend(given)
        return sum(given)

    figures = _greedy(model, problems, marked, "reward", max_new_tokens, at_once)
    if not opinions:
        raise CounterpointError(f"judge={judge} has no opinion of any reply; give another, or --no-evaluate")
    share = len(opinions) / len(problems)
    return {**figures, "reward": figures["reward"] / share, "judged": share}


def _greedy(
    model: Language,
    problems: Problems,
    marked: Callable[[Sequence[Problem], Tokens], float],
    name: str,
    max_new_tokens: int | None,
    at_once: int,
) -> dict[str, float]:
    """Replies to all problems: the mean of the marks, the share that ended, the mean length."""
    budget = max_new_tokens or passes.reply_tokens() or reply_budget(model, problems)
    order = sorted(range(len(problems)), key=lambda number: len(problems[number].key()))
    total, ended, tokens = 0.0, 0, 0
    for part in passes.over(order, at_once):
        rows = [problems[number] for number in part]
        prompts = model.prompts([row.prompt for row in rows])
        sampler = Sampler(max_new_tokens=_within(model, prompts.width, budget), temperature=0)
        replies = sampler(model, prompts)
        total += marked(rows, replies)
        ended += int(replies.ended.sum())
        tokens += int(replies.mask.sum())
    count = len(problems)
    return {name: total / count, "ended": ended / count, "reply_tokens": tokens / count}


def reply_budget(model: Language, problems: Problems) -> int:
    """How many tokens a reply may take: half as much again as the longest solution, or 128 where only answers are known."""
    solutions = [row.solution for row in problems if row.solution]
    if not solutions:
        return 128
    longest = max(len(row) for row in model.tokenizer(solutions)["input_ids"])
    return min(max(32, longest * 3 // 2), 256)


def _within(model: Language, width: int, budget: int) -> int:
    """New tokens that still fit behind prompts of a width."""
    return budget if model.limit is None else max(min(budget, model.limit - width), 1)


def perplexity(model: Language, problems: Problems, *, at_once: int = 32) -> float:
    """Return exp of the mean negative log-probability per token of the references, end token included.

    Raises:
        CounterpointError: no problem has a reference.
    """
    rows = [row for row in problems if row.reference]
    if not rows:
        raise CounterpointError(
            "perplexity needs references; give the data a 'completion' or an 'answer' column"
        )
    sums, lengths = sequence_log_probs(
        model, [row.prompt for row in rows], [row.completion for row in rows], at_once=at_once
    )
    return math.exp(-float(sums.sum()) / float(lengths.sum()))


@torch.no_grad()
def retention(
    model: Language, base: Language, problems: Problems, *, max_new_tokens: int = 64, seed: int = 0
) -> float:
    """Perplexity, under ``model``, of what ``base`` says at temperature 1: how far the model has moved from its base.

    The base's own value is the floor; the further from it, the more was unlearnt.

    Args:
        model: the tuned model.
        base: the model that it was tuned from.
        problems: prompts, best of another kind than those trained on.
        max_new_tokens: length of what the base says.
        seed: of its sampling.
    """
    prompts = base.prompts([row.prompt for row in problems])
    draws = row_draws(seed, range(len(problems)), max_new_tokens)
    texts = base.texts(Sampler(max_new_tokens=max_new_tokens)(base, prompts, draws))
    sums, lengths = sequence_log_probs(model, [row.prompt for row in problems], texts)
    return math.exp(-float(sums.sum()) / float(lengths.sum()))


def solving(subject: Subject[Language, ProblemData]) -> dict[str, float]:
    """``greedy_accuracy`` of a split, and the ``perplexity`` of its references where there are any.

    Rows of text alone have no answers: there it is ``perplexity`` and ``likelihood``, the mean log-probability per token. Prompts
    of which some have no answer are measured by the data's judge, where it names one: ``greedy_reward``.
    """
    model, rows = subject.model, subject.part
    if len(rows) and not any(row.answer or row.prompt for row in rows):
        value = perplexity(model, rows)
        return {"likelihood": -math.log(value), "perplexity": value}
    judge = subject.data.judge
    if judge and len(rows) and not rows.scored:
        figures = greedy_reward(model, rows, judge)
    else:
        figures = greedy_accuracy(model, rows)
    if any(row.reference for row in rows):
        figures["perplexity"] = perplexity(model, rows)
    return figures


MEASUREMENTS: tuple[Measurement[Any, ProblemData], ...] = (
    Measurement(applies=is_a(Language), measure=solving),
)
