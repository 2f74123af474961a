"""One true answer against K drawn ones, from their scores alone: noise-contrastive estimation and energy-based losses.

The family as arXiv 2102.12982 surveys it; noise-contrastive estimation after Gutmann and Hyvarinen (2010), its ranking form
after arXiv 1809.01812, negative sampling after arXiv 1310.4546, the energy-based losses after LeCun et al. (2006).
s+ is the true answer's score, s_k the drawn ones', q the distribution they are drawn from; an energy is -score.

    infonce            -s+/t + log(e^{s+/t} + sum_k e^{s_k/t})
    ranking_nce        infonce of s - log q, with t = 1
    binary_nce         softplus(-D+) + sum_k softplus(D_k),   D = s - log q - log K
    negative_sampling  binary_nce with D = s; its optimum is the pointwise mutual information less log K
    ebm_hinge          [1 - s+ + max_k s_k]_+
    ebm_log            softplus(max_k s_k - s+)
    ebm_square_square  s+^2 + [1 + max_k s_k]_+^2             for bounded scores: the true answer's is drawn to 0

Every function takes positive [...] and negatives [..., K] and returns losses [...]; leading axes broadcast, so that
several positives [N, G] may share negatives [N, 1, K]. ``valid`` [..., K] leaves out negatives that are none; an item
whose negatives are all left out has nothing against its positive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.objectives.in_batch import softplus

Scored = Literal[
    "infonce",
    "ranking_nce",
    "binary_nce",
    "negative_sampling",
    "ebm_hinge",
    "ebm_log",
    "ebm_square_square",
]


def scored_contrast(
    name: Scored,
    positive: Tensor,
    negatives: Tensor,
    *,
    valid: Tensor | None = None,
    log_noise: tuple[Tensor, Tensor] | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Any of the losses of this file by its name.

    Args:
        name: as in the list at the top.
        positive: [...]. negatives: [..., K]. valid: [..., K] bool.
        log_noise: log q of the positives and of the negatives, shaped as they are; for the two ``..._nce``.
        temperature: of ``infonce``.

    Raises:
        CounterpointError: an unknown name; a corrected loss without ``log_noise``; no negatives.

    >>> s, n = torch.tensor([2.0]), torch.tensor([[1.0, -1.0]])
    >>> [round(float(scored_contrast(name, s, n)), 4) for name in ("infonce", "negative_sampling", "ebm_hinge")]
    [0.349, 1.7535, 0.0]
    """
    if name not in LOSSES:
        raise CounterpointError(f"there is no loss of scores '{name}'; {nearest(name, LOSSES)}")
    if negatives.shape[-1] < 1:
        raise CounterpointError(f"{name} got no negatives; draw at least one for every positive")
    if name == "infonce":
        return infonce(positive, negatives, valid=valid, temperature=temperature)
    if name in ("ranking_nce", "binary_nce"):
        if log_noise is None:
            raise CounterpointError(
                f"{name} corrects for the noise: give log_noise=(log q of the positives, log q of the negatives), or take "
                f"{'infonce' if name == 'ranking_nce' else 'negative_sampling'}, which does not"
            )
        correct: Callable[..., Tensor] = ranking_nce if name == "ranking_nce" else binary_nce
        return correct(positive, negatives, log_noise, valid=valid)
    return LOSSES[name](positive, negatives, valid=valid)


def infonce(
    positive: Tensor, negatives: Tensor, *, valid: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """Ranking form: the positive's negative log-share; bounds mutual information, ``I >= log(K + 1) - loss``."""
    against = _filled(negatives / temperature, valid, -torch.inf).logsumexp(-1)
    return softplus(against - positive / temperature)


def ranking_nce(
    positive: Tensor, negatives: Tensor, log_noise: tuple[Tensor, Tensor], *, valid: Tensor | None = None
) -> Tensor:
    """Sampled softmax, corrected for the noise: right for conditional models whatever their normaliser."""
    return infonce(positive - log_noise[0], negatives - log_noise[1], valid=valid)


def binary_nce(
    positive: Tensor, negatives: Tensor, log_noise: tuple[Tensor, Tensor], *, valid: Tensor | None = None
) -> Tensor:
    """Classification form: true or drawn? Right only if scores can normalise themselves. K counts valid negatives."""
    count = negatives.shape[-1] if valid is None else valid.sum(-1).clamp(min=1)
    shift = torch.as_tensor(count, dtype=positive.dtype, device=positive.device).log()
    return negative_sampling(
        positive - log_noise[0] - shift, negatives - log_noise[1] - shift.unsqueeze(-1), valid=valid
    )


def negative_sampling(positive: Tensor, negatives: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """The classification form without any correction, a sum over the negatives."""
    pushed = softplus(negatives)
    pushed = pushed if valid is None else torch.where(valid, pushed, 0.0)
    return softplus(-positive) + pushed.sum(-1)


def ebm_hinge(positive: Tensor, negatives: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """The most offending negative is to stay 1 below the positive."""
    return (1 - positive + _worst(negatives, valid)).relu()


def ebm_log(positive: Tensor, negatives: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """The hinge's soft form."""
    return softplus(_worst(negatives, valid) - positive)


def ebm_square_square(positive: Tensor, negatives: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """The positive's energy goes to 0, the most offending negative's above 1."""
    return positive.square() + (1 + _worst(negatives, valid)).relu().square()


LOSSES: dict[str, Callable[..., Tensor]] = {
    "infonce": infonce,
    "ranking_nce": ranking_nce,
    "binary_nce": binary_nce,
    "negative_sampling": negative_sampling,
    "ebm_hinge": ebm_hinge,
    "ebm_log": ebm_log,
    "ebm_square_square": ebm_square_square,
}
assert set(LOSSES) == set(get_args(Scored))


def _filled(values: Tensor, valid: Tensor | None, fill: float) -> Tensor:
    return values if valid is None else values.masked_fill(~valid, fill)


def _worst(negatives: Tensor, valid: Tensor | None) -> Tensor:
    """The highest score of a negative; -inf where there is none."""
    return _filled(negatives, valid, -torch.inf).amax(-1)
