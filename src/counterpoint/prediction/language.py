"""What language models write, and what reward models give: a completion to each prompt, a reward for each prompt with its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn

from counterpoint.conversation import Completion, Prompt
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problem_rows import ALIASES, parse
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.models.language.language import Language
from counterpoint.models.language.reward import RewardModel
from counterpoint.prediction.predictor import Predictor, Row, Settings, names

LONGEST = 256
"""Tokens of an answer where nothing is said."""
REWARDED = ("completion", "response", "answer", "output", "chosen")
"""Columns of the answers that are rewarded."""


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """``completion`` of a language model, with the instruction and by the contrast of its folder; ``reward`` of a reward model."""
    if isinstance(model, RewardModel):
        return _rewards(model, settings)
    return _answers(cast(Language, model), settings)


def _answers(model: Language, settings: Settings) -> Predictor:
    budget = settings.max_new_tokens or LONGEST

    def read(row: Row) -> tuple[Prompt, int]:
        problem = _problem(row, settings)
        if not problem.prompt:
            raise CounterpointError(f"{row.where}: no prompt; expected 'prompt', 'question' or 'messages'")
        [ids] = model.prompt_ids([problem.prompt])
        if model.limit is not None and len(ids) >= model.limit:
            raise CounterpointError(
                f"{row.where}: a prompt of {len(ids)} tokens leaves no room for an answer in the model's {model.limit} positions; "
                "shorten or remove it"
            )
        return problem.prompt, row.number

    def answer(rows: list[tuple[Prompt, int]]) -> list[dict[str, Any]]:
        prompts = model.prompts([prompt for prompt, _ in rows])
        room = budget if model.limit is None else max(min(budget, model.limit - prompts.width), 1)
        sampler = Sampler(max_new_tokens=room, temperature=settings.temperature)
        draws = None
        if settings.temperature:
            draws = row_draws(settings.seed, [number for _, number in rows], room)
        replies = sampler(model, prompts, draws)
        return [
            {"completion": text, "ended": bool(ended)}
            for text, ended in zip(model.texts(replies), replies.ended.tolist(), strict=True)
        ]

    return Predictor(
        what="answers",
        plain="prompt",
        read=read,
        answer=answer,
        size=16,
        columns=names(settings, ALIASES["prompt"]),
        endings=(".txt",),
        documents=True,
        example='["What is 2 + 3?"]',
    )


def _rewards(model: RewardModel, settings: Settings) -> Predictor:
    def read(row: Row) -> tuple[Prompt, Completion]:
        problem = _problem(row, settings)
        given = next((row.cells[name] for name in REWARDED if row.cells.get(name) not in (None, "")), None)
        if given is None:
            raise CounterpointError(
                f"{row.where}: no answer to reward; expected a column {', '.join(REWARDED)} beside the prompt"
            )
        return problem.prompt, given if isinstance(given, list) else str(given)

    def answer(rows: list[tuple[Prompt, Completion]]) -> list[dict[str, Any]]:
        rewards = model.rewards([prompt for prompt, _ in rows], [completion for _, completion in rows])
        return [{"reward": value} for value in rewards.tolist()]

    return Predictor(
        what="rewards",
        plain="",
        read=read,
        answer=answer,
        size=32,
        example='[{"prompt": "What is 2 + 3?", "completion": "5"}]',
    )


def _problem(row: Row, settings: Settings) -> Problem:
    learnt = next((name for name in settings.learnt if name in row.cells), None)
    columns = {"prompt": settings.column or learnt, "solution": None, "answer": None, "hint": None}
    path, _, _ = row.where.rpartition(", row ")
    return parse(dict(row.cells), columns, row.folder / Path(path or row.where).name, row.number)
