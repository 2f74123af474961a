"""What a language model can do on problems: greedy accuracy, perplexity of references, and how far it has moved.

Everything is greedy or exact, so that the same weights give the same figures.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.judges.verifier import Verifier
from counterpoint.models import passes
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import sequence_log_probs


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
            "accuracy needs an answer for every problem; give the data an 'answer' column, or name it: --data-option answer=label"
        )
    budget = max_new_tokens or passes.reply_tokens() or reply_budget(model, problems)
    verifier = Verifier(problems.scorer)
    order = sorted(range(len(problems)), key=lambda number: len(problems[number].key()))
    total, ended, tokens = 0.0, 0, 0
    for part in passes.over(order, at_once):
        rows = [problems[number] for number in part]
        prompts = model.prompts([row.prompt for row in rows])
        sampler = Sampler(max_new_tokens=_within(model, prompts.width, budget), temperature=0)
        replies = sampler(model, prompts)
        total += sum(verifier.score(text, row) for text, row in zip(model.texts(replies), rows))
        ended += int(replies.ended.sum())
        tokens += int(replies.mask.sum())
    count = len(problems)
    return {"accuracy": total / count, "ended": ended / count, "reply_tokens": tokens / count}


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

    Rows of text alone have no answers: there it is ``perplexity`` and ``likelihood``, the mean log-probability per token.
    """
    model, rows = subject.model, subject.part
    if len(rows) and not any(row.answer or row.prompt for row in rows):
        value = perplexity(model, rows)
        return {"likelihood": -math.log(value), "perplexity": value}
    figures = greedy_accuracy(model, rows)
    if any(row.reference for row in rows):
        figures["perplexity"] = perplexity(model, rows)
    return figures


MEASUREMENTS: tuple[Measurement[Any, ProblemData], ...] = (
    Measurement(applies=is_a(Language), measure=solving),
)
