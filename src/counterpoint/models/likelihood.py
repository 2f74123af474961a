"""Log-probabilities of given completions under a causal model. B rows, T completion positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from counterpoint.kernels.vocabulary import log_probs
from counterpoint.models.language import Language, Prompt
from counterpoint.models.tokens import Tokens, join, pad


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

    >>> from counterpoint.models.characters import tiny
    >>> model = tiny(seed=0)
    >>> logp = completion_log_probs(model, model.prompts(["1+1=", "20+2="]), model.completions(["2", "22"]))
    >>> logp.shape, bool((logp[0, 2:] == 0).all())
    (torch.Size([2, 3]), True)
    """
    both = join(prompts, completions)
    if forward is None:
        hidden = model(both.ids, both.mask, last=completions.width)
    else:
        hidden = forward(model, both.ids, both.mask, last=completions.width)
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

    Completions are texts or token ids. Rows of similar length go through the model together; the order of the results is
    the order given.

    >>> from counterpoint.models.characters import tiny
    >>> sums, lengths = sequence_log_probs(tiny(seed=0), ["1+1=", "20+2="], ["2", "22"])
    >>> lengths.tolist()
    [2, 3]
    """
    training = model.training
    model.eval()
    try:
        order = sorted(range(len(prompts)), key=lambda i: (len(completions[i]), len(str(prompts[i]))))
        sums = torch.zeros(len(prompts), dtype=torch.float64)
        lengths = torch.zeros(len(prompts), dtype=torch.long)
        for start in range(0, len(order), at_once):
            rows = order[start : start + at_once]
            answers = as_completions(model, [completions[i] for i in rows])  # type: ignore[arg-type]
            token_logp = completion_log_probs(model, model.prompts([prompts[i] for i in rows]), answers)
            sums[rows] = token_logp.double().sum(-1).cpu()
            lengths[rows] = answers.lengths.cpu()
    finally:
        model.train(training)
    return sums, lengths
