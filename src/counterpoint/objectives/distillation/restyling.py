r"""Terms of two-way restyling: what comes back from a cycle, what a picture of the own domain becomes, and whether it looks real.

    reconstruction:   l_i = w mean |y_i - x_i| + w' d_i          (cycle and identity; d_i a perceptual distance)
    multilevel GAN:   l_i = sum_levels mean_positions BCE(D_l(x_i), y),   y = 1 real, 0 made

StyDeco (arXiv 2508.01215; the released program). Its contrastive term on prompts is ``labels.supervised.supcon_out`` with two
classes. Shapes: N pictures, * the axes of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import softplus

from counterpoint.errors import CounterpointError


def reconstruction(
    made: Tensor,
    picture: Tensor,
    *,
    weight: float,
    perceptual: Tensor | None = None,
    perceptual_weight: float = 0.0,
) -> Tensor:
    """How far pictures are from those that they should be; [N], weighted.

    Args:
        made, picture: [N, *].
        weight: of the mean absolute difference.
        perceptual: [N] distances by a network, and ``perceptual_weight`` their factor; None leaves them out.

    Raises:
        CounterpointError: the two differ in shape.

    >>> import torch
    >>> reconstruction(torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2), weight=0.5).tolist()
    [1.0]
    """
    if made.shape != picture.shape:
        raise CounterpointError(
            f"pictures of shapes {list(made.shape)} and {list(picture.shape)}; expected the same"
        )
    values = weight * (made - picture).abs().flatten(1).mean(1)
    return values if perceptual is None else values + perceptual_weight * perceptual


def multilevel_sigmoid(levels: Sequence[Tensor], real: bool) -> Tensor:
    """Binary cross-entropy of a discriminator's logits at several scales, averaged over positions and summed over scales; [N].

    Args:
        levels: logits, each [N, *] or [N].
        real: whether the pictures should look real; the generator wants that of what it made.

    Raises:
        CounterpointError: no level.

    >>> import torch
    >>> [round(x, 4) for x in multilevel_sigmoid([torch.zeros(1, 2, 2), torch.zeros(1, 1)], real=True).tolist()]
    [1.3863]
    """
    if not levels:
        raise CounterpointError("a discriminator without levels; expected logits [N, *] of one or more")
    return sum(  # type: ignore[return-value]
        softplus(-each if real else each)[..., None].flatten(1).mean(1) for each in levels
    )
