"""Log-probabilities of given completions under a causal model. B rows, T completion positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from counterpoint.kernels.vocabulary import log_probs
from counterpoint.models import passes
from counterpoint.models.language.language import Language, Prompt
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
    """Return log pi of every completion token, [B, T], 0 on padding; differentiable.

    Args:
        model: the policy.
        prompts: [B, P] left-padded.
        completions: [B, T] right-padded; the end token belongs to the completion.
        temperature: divides the logits.
        forward: how to call the model, ``run.forward`` in training (micro-batches, precision); plainly when None.

    >>> from counterpoint.models.language.characters import tiny
    >>> model = tiny(seed=0)
    >>> logp = completion_log_probs(model, model.prompts(["1+1=", "20+2="]), model.completions(["2", "22"]))
    >>> logp.shape, bool((logp[0, 2:] == 0).all())
    (torch.Size([2, 3]), True)
    """
    hidden = answer_states(model, prompts, completions, forward=forward)
    return log_probs(
        model.scores(hidden), completions.ids, temperature=temperature, mask=completions.mask.bool()
    )


def as_completions(model: Language, completions: Sequence[str] | Sequence[list[int]]) -> Tokens:
    """Tokenise texts (each gets its end token), or pad token ids as they are (sampled ones have theirs)."""
    if all(isinstance(each, str) for each in completions):
        return model.completions(list(completions))  # type: ignore[arg-type]
    return pad(completions, side="right", fill=model.pad_id).to(model.device)  # type: ignore[arg-type]


@torch.no_grad()
def sequence_log_probs(
    model: Language,
    prompts: Sequence[Prompt],
    completions: Sequence[str] | Sequence[list[int]],
    *,
    at_once: int = 16,
) -> tuple[Tensor, Tensor]:
    """Return (sums [N] in float64, lengths [N]) of completions, without gradient or dropout.

    Completions are texts or token ids. Rows of similar length go through the model together, or, where sharing their
    prompts pays, rows with one prompt; the order of the results is the order given. ``at_once`` rows go through it at a
    time, fewer where ``models.passes`` says so.

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
            answers = as_completions(model, [completions[i] for i in rows])  # type: ignore[arg-type]
            token_logp = completion_log_probs(model, model.prompts([prompts[i] for i in rows]), answers)
            sums[rows] = token_logp.double().sum(-1).cpu()
            lengths[rows] = answers.lengths.cpu()
    finally:
        model.train(training)
    return sums, lengths


def _order(model: Language, prompts: Sequence[Prompt], completions: Sequence[Any], at_once: int) -> list[int]:
    """In which order rows go through the model: by length, or by prompt where rows should share it."""
    names = [str(prompt) for prompt in prompts]
    if len(set(names)) < len(names):
        by_prompt = sorted(range(len(names)), key=lambda i: (len(names[i]), names[i], len(completions[i])))
        if groups(model, model.prompts([prompts[i] for i in by_prompt[-at_once:]])) is not None:
            return by_prompt
    return sorted(range(len(names)), key=lambda i: (len(completions[i]), len(names[i])))
