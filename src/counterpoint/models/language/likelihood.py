"""Log-probabilities of given completions under a causal model. B rows, T completion positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from counterpoint.kernels.vocabulary import log_probs
from counterpoint.models import passes
from counterpoint.models.language.language import Completion, Language, Prompt
from counterpoint.models.language.prompt_groups import answer_states, groups
from counterpoint.models.tokens import Tokens, pad


def completion_log_probs(
    model: Language,
    prompts: Tokens,
    completions: Tokens,
    *,
    temperature: float = 1.0,
    forward: Callable[..., Any] | None = None,
) -> Tensor:
    """Return log pi of every completion token, [B, T], 0 on padding and on others' words; differentiable.

    Args:
        model: the policy.
        prompts: [B, P] left-padded.
        completions: [B, T] right-padded; the end of the turn belongs to the completion.
        temperature: divides the logits.
        forward: how to call the model, ``run.forward`` in training (micro-batches, precision); plainly when None.

    >>> from counterpoint.models.language.characters import tiny
    >>> model = tiny(seed=0)
    >>> logp = completion_log_probs(model, *model.rows(["1+1=", "20+2="], ["2", "22"]))
    >>> logp.shape, bool((logp[0, 2:] == 0).all())
    (torch.Size([2, 3]), True)
    """
    hidden = answer_states(model, prompts, completions, forward=forward)
    return log_probs(
        model.scores(hidden), completions.ids, temperature=temperature, mask=completions.authored
    )


def sampled(model: Language, completions: Sequence[list[int]]) -> Tokens:
    """Token ids as they were sampled, their ends included, right-padded."""
    return pad(completions, side="right", fill=model.pad_id).to(model.device)


@torch.no_grad()
def sequence_log_probs(
    model: Language,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion] | Sequence[list[int]],
    *,
    at_once: int = 16,
) -> tuple[Tensor, Tensor]:
    """Return (sums [N] in float64, lengths [N]) of completions, without gradient or dropout.

    Completions are texts, messages or token ids; only the assistant's tokens count. Rows of similar length go through the
    model together, or, where sharing their prompts pays, rows with one prompt; the order of the results is the order given.
    ``at_once`` rows go through it at a time, fewer where ``models.passes`` says so.

    >>> from counterpoint.models.language.characters import tiny
    >>> sums, lengths = sequence_log_probs(tiny(seed=0), ["1+1=", "20+2="], ["2", "22"])
    >>> lengths.tolist()
    [2, 3]
    """
    training = model.training
    model.eval()
    try:
        at_once = passes.at_once(at_once)
        order = _order(model, prompts, completions, at_once)
        sums = torch.zeros(len(prompts), dtype=torch.float64)
        lengths = torch.zeros(len(prompts), dtype=torch.long)
        for rows in map(list, passes.over(order, at_once)):
            questions, answered = [prompts[i] for i in rows], [completions[i] for i in rows]
            if all(map(_are_ids, answered)):
                before, after = model.prompts(questions), sampled(model, answered)  # type: ignore[arg-type]
            else:
                before, after = model.rows(questions, answered)  # type: ignore[arg-type]
            sums[rows] = completion_log_probs(model, before, after).double().sum(-1).cpu()
            lengths[rows] = after.authored.sum(1).cpu()
    finally:
        model.train(training)
    return sums, lengths


def _are_ids(completion: Completion | list[int]) -> bool:
    return not isinstance(completion, str) and not any(isinstance(each, dict) for each in completion)


def _length(completion: Completion | list[int]) -> int:
    return len(completion) if isinstance(completion, str) or _are_ids(completion) else len(str(completion))


def _order(model: Language, prompts: Sequence[Prompt], completions: Sequence[Any], at_once: int) -> list[int]:
    """In which order rows go through the model: by length, or by prompt where rows should share it."""
    names = [str(prompt) for prompt in prompts]
    if len(set(names)) < len(names) and all(names):  # text without a prompt has none to share
        by_prompt = sorted(
            range(len(names)), key=lambda i: (len(names[i]), names[i], _length(completions[i]))
        )
        if groups(model, model.prompts([prompts[i] for i in by_prompt[-at_once:]])) is not None:
            return by_prompt
    return sorted(range(len(names)), key=lambda i: (_length(completions[i]), len(names[i])))
