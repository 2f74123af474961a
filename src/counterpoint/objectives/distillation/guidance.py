"""Self-distillation on probabilities, guided by the true targets (arXiv 2102.13088, the networks of section 5).

    l_i = mean_c [ a (p_ic - y_ic)^2 + (1 - a) (p_ic - t_ic)^2 ],     p = softmax(z), or a prediction itself

With a = 1, or no teacher, it is the plain squared error. The authors add c sum_p ||p||_2 over the parameter tensors p, norms that
are not squared. B items, C outputs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


def guided_error(
    student_BC: Tensor, targets_BC: Tensor, teacher_BC: Tensor | None = None, weight: float = 1.0
) -> Tensor:
    """Return the loss of each item, [B].

    Args:
        student_BC: probabilities or predictions; they carry the gradient.
        targets_BC: the truth, one-hot for classes.
        teacher_BC: what the previous step's model gives; constant. None in the first step, which has no teacher.
        weight: a, of the truth; without effect where there is no teacher.

    Raises:
        CounterpointError: shapes that differ, which would be broadcast.

    >>> p, y, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    >>> guided_error(p, y).tolist(), guided_error(p, y, t, 0.25).tolist()
    ([1.0], [0.625])
    """
    for name, other in (("targets", targets_BC), ("teacher", teacher_BC)):
        if other is not None and other.shape != student_BC.shape:
            raise CounterpointError(
                f"{name} of shape {tuple(other.shape)} for outputs of shape {tuple(student_BC.shape)}; expected the same, [items, outputs]"
            )
    truth = ((student_BC - targets_BC) ** 2).mean(1)
    if teacher_BC is None:
        return truth
    return weight * truth + (1 - weight) * ((student_BC - teacher_BC.detach()) ** 2).mean(1)


def norms(parameters: Iterable[Tensor]) -> Tensor:
    """sum_p ||p||_2 over parameter tensors; the gradient at a tensor of zeros is zero.

    >>> float(norms([torch.tensor([3.0, 4.0]), torch.tensor([2.0])]))
    7.0
    """
    return torch.stack([torch.linalg.vector_norm(each) for each in parameters]).sum()
