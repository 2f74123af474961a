"""A trained scorer as judge: a transformers sequence classifier, such as the method ``reward``, TRL's trainer or a discriminator writes.

Prompt and answer are read as they are in training: through the chat template, or as text with the end-of-sequence token behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from counterpoint import library_bars
from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges.judge import Verdicts
from counterpoint.models import passes
from counterpoint.models.language.rendering import render
from counterpoint.models.tokens import pad


class Trained:
    """Rewards of a classifier over prompt and answer: its one output, or the log-odds of its last class.

    Args:
        model: with ``logits`` as its output. tokenizer: its own.
        at_once: rows that go through it at a time.
    """

    def __init__(self, model: Any, tokenizer: Any, *, at_once: int = 32) -> None:
        self.model, self.tokenizer, self.at_once = model.eval().requires_grad_(False), tokenizer, at_once

    @torch.no_grad()
    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Score every answer.

        Raises:
            CounterpointError: a text longer than the scorer's positions.
        """
        pairs = [(p.prompt, a["text"]) for p, row in zip(problems, answers, strict=True) for a in row]
        rows = [row.ids for row in render(self.tokenizer, pairs)]
        scores: list[float] = []
        for part in passes.over(rows, self.at_once, lengths=list(map(len, rows)), announce=False):
            given = pad(part, side="right", fill=self.tokenizer.pad_token_id)
            limit = getattr(self.model.config, "max_position_embeddings", None)
            if limit and given.width > limit:
                raise CounterpointError(
                    f"a prompt with its answer has {given.width} tokens, and the scorer reads {limit}; "
                    "shorten prompts (max_characters) or answers (max_new_tokens)"
                )
            given = given.to(self.model.device)
            logits = self.model(input_ids=given.ids, attention_mask=given.mask).logits.float()
            if logits.shape[1] > 1:
                logits = (logits[:, -1] - logits[:, :-1].logsumexp(1))[:, None]
            scores += logits[:, 0].tolist()
        rest = iter(scores)
        rewards = [[next(rest) for _ in row] for row in answers]
        return Verdicts.of(rewards, [[f"scored {value:.3f}" for value in row] for row in rewards])


def load(folder: str | Path, device: torch.device | str = "cpu") -> Trained:
    """Open a folder with a sequence classifier and its tokenizer.

    Raises:
        CounterpointError: none there.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    library_bars.hide("transformers")

    if not Path(folder).is_dir():
        raise CounterpointError(
            f"scored:{folder}: there is no such folder; expected one with a sequence classifier"
        )
    try:
        named = AutoConfig.from_pretrained(folder, local_files_only=True).architectures or []
        if not any("ForSequenceClassification" in each for each in named):
            raise ValueError(
                f"it holds {', '.join(named) or 'a model without a class'}"
            )  # its head would be random
        model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CounterpointError(
            f"scored:{folder} holds no sequence classifier of transformers with its tokenizer: {str(error).splitlines()[0]}"
        ) from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return Trained(model.to(device), tokenizer)
