"""Prompts as tensors: numbers of classes [N], or vectors of captions [N, D]; and what stands for none.

No prompt is the number -1, or a vector of zeros. The prompt that stands for the model's own pictures of a class k is K + k,
where there are K classes; of a caption it is the vector of another text.
"""

from __future__ import annotations

import torch
from torch import Tensor


def no_prompt(prompts: Tensor) -> Tensor:
    """As many prompts that ask for nothing.

    >>> no_prompt(torch.tensor([3, 0])).tolist(), no_prompt(torch.ones(1, 2)).tolist()
    ([-1, -1], [[0.0, 0.0]])
    """
    return torch.zeros_like(prompts) if prompts.is_floating_point() else torch.full_like(prompts, -1)


def asks(prompts: Tensor) -> Tensor:
    """[N] whether a prompt asks for anything.

    >>> asks(torch.tensor([3, -1])).tolist(), asks(torch.tensor([[0.0, 0.0], [0.0, 1.0]])).tolist()
    ([True, False], [False, True])
    """
    return (prompts != 0).any(-1) if prompts.is_floating_point() else prompts >= 0


def dropped(prompts: Tensor, rows: Tensor) -> Tensor:
    """The prompts, none where ``rows`` [N] is true."""
    return torch.where(rows.view(-1, *(1,) * (prompts.ndim - 1)), no_prompt(prompts), prompts)
