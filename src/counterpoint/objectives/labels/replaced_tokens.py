"""Replaced-token detection (ELECTRA, arXiv 2003.10555, eq. 1-3): a small generator fills gaps, the encoder finds what it filled wrongly.

    L = mean_gaps -log p_G(x_t) + lambda mean_t BCE(d_t, [x'_t != x_t]),    x' = x with samples of p_G in the gaps

Nothing flows through the sampling, so the generator is not an adversary. A sample that hits the original counts as original.
Shapes: B texts, T tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Scores, constant, dense
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import masked, sequence_sum


def choose_gaps(draws_BT: Tensor, candidates_BT: Tensor, rate: float = 0.15) -> Tensor:
    """[B, T] bool: each candidate is a gap with probability ``rate``; a text with candidates gets at least one gap.

    Args:
        draws_BT: uniform on [0, 1). candidates_BT: tokens that may be hidden: neither padding nor special.

    >>> choose_gaps(torch.tensor([[0.1, 0.9, 0.5], [0.8, 0.7, 0.1]]), torch.tensor([[1, 1, 1], [1, 1, 0]])).int().tolist()
    [[1, 0, 0], [0, 1, 0]]
    """
    if not 0 < rate < 1:
        raise CounterpointError(
            f"mask_rate={rate}; expected a share of the tokens between 0 and 1, such as 0.15"
        )
    candidates = candidates_BT.bool()
    lowest = torch.where(candidates, draws_BT, 2.0)
    return candidates & ((draws_BT < rate) | (lowest <= lowest.amin(1, keepdim=True)))


@torch.no_grad()
def sample_tokens(generator: Scores, draws: Tensor) -> Tensor:
    """[...] ids drawn from softmax(generator), one uniform number per position (the inverse of the distribution function).

    >>> sample_tokens(torch.tensor([[0.0, 0.0]]), torch.tensor([0.7])).tolist()
    [1]
    """
    mass = torch.softmax(dense(constant(generator)).double(), -1).cumsum(-1)
    # The sum of the whole falls short of 1 or exceeds it by rounding: the draw is scaled to what there is.
    return torch.searchsorted(mass, draws[..., None].double() * mass[..., -1:], right=True).squeeze(-1).clamp(
        max=mass.shape[-1] - 1
    )  # fmt: skip


def corrupt(original_BT: Tensor, gaps_BT: Tensor, sampled_BT: Tensor) -> Tensor:
    """[B, T] ids: the sample in the gaps, the original elsewhere."""
    return torch.where(gaps_BT.bool(), sampled_BT, original_BT)


def replaced(original_BT: Tensor, corrupted_BT: Tensor) -> Tensor:
    """[B, T] bool labels: where a token differs from the original.

    >>> replaced(torch.tensor([[5, 6, 7]]), corrupt(torch.tensor([[5, 6, 7]]), torch.tensor([[1, 1, 0]]), torch.tensor([[5, 9, 9]])))
    tensor([[False,  True, False]])
    """
    return original_BT != corrupted_BT


def generator_loss(generator: Scores, original_BT: Tensor, gaps_BT: Tensor, weight: float = 1.0) -> Loss:
    """L_MLM: negative log-likelihood of the originals in the gaps, per text, counted in gaps.

    Args:
        generator: [B, T] positions over V entries, dense logits or a head.
    """
    gaps = gaps_BT.bool()
    return Loss(
        -log_probs(generator, original_BT, mask=gaps).sum(1),
        counts=gaps.sum(1).to(torch.get_default_dtype()),
        weight=weight,
    )


def detection_loss(
    logits_BT: Tensor, original_BT: Tensor, corrupted_BT: Tensor, mask_BT: Tensor, weight: float = 50.0
) -> Loss:
    """lambda L_D: binary cross-entropy of "was replaced" over all tokens but padding, per text, counted in tokens.

    The share of originals being large, accuracy says little; the statistics are the hits among the replaced (``recall``) and
    the replaced among what was called so (``precision``), per text, 1 where there is none.

    Args:
        logits_BT: above 0 says replaced; padding may hold anything. mask_BT: 1 on tokens, special ones included.
    """
    labels = replaced(original_BT, corrupted_BT)
    mask = mask_BT.bool()
    # Padding is emptied before the loss: a gradient of 0 times an infinite value would be NaN.
    clean = masked(logits_BT, mask)
    values = sequence_sum(binary_cross_entropy_with_logits(clean, labels.to(clean), reduction="none"), mask)
    with torch.no_grad():
        called, wrong = (clean > 0) & mask, labels & mask
        hits = (called & wrong).sum(1).float()
        stats = {
            "recall": torch.where(wrong.any(1), hits / wrong.sum(1).clamp(min=1), 1.0),
            "precision": torch.where(called.any(1), hits / called.sum(1).clamp(min=1), 1.0),
        }
    return Loss(values, counts=mask.sum(1).to(values.dtype), weight=weight, stats=stats)
