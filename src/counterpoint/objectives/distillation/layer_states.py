"""What a student's predictions and hidden states are compared with a teacher's by (Distiller, arXiv 2109.11105, 3.1 and 3.3).

Each is a lower bound of their mutual information under another family: squared error (Gaussian), cosine and PKD (von
Mises-Fisher), cross-entropy (categorical over features). B texts, L tokens of which some are padding, d features, C classes. The
teacher is a constant.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from counterpoint.errors import CounterpointError, nearest
from counterpoint.objectives.reduction import Loss

STATES = ("mse", "ce", "cosine", "pkd")


def prediction_loss(
    student_BC: Tensor, teacher_BC: Tensor, kind: str = "ce", temperature: float = 1.0
) -> Tensor:
    """[B]: "ce" -sum_c softmax(z_t / tau)_c log softmax(z_s / tau)_c, "mse" the mean over c of ((z_s - z_t) / tau)^2.

    No square of the temperature is multiplied on.

    >>> prediction_loss(torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]), "mse").tolist()
    [5.0]
    """
    student, teacher = student_BC / temperature, teacher_BC.detach() / temperature
    if kind == "ce":
        return -(teacher.softmax(1) * student.log_softmax(1)).sum(1)
    if kind == "mse":
        return ((student - teacher) ** 2).mean(1)
    raise CounterpointError(f"prediction='{kind}'; {nearest(kind, ['ce', 'mse'])}")


def state_loss(student_BLd: Tensor, teacher_BLd: Tensor, mask_BL: Tensor, kind: str) -> Loss:
    """Losses of texts' token states, a sum over a text's tokens each, counted by them; of "pkd" one a text.

    mse: mean_d (h_s - h_t)^2.  cosine: 1 - cos.  ce: -sum_d softmax(h_t) log softmax(h_s).
    pkd: ||h_s / ||h_s|| - h_t / ||h_t|| ||^2 of the first token.

    Raises:
        CounterpointError: states of different widths, or another kind.

    >>> state_loss(torch.zeros(1, 2, 3), torch.ones(1, 2, 3), torch.tensor([[1, 0]]), "mse").mean().item()
    1.0
    """
    if student_BLd.shape != teacher_BLd.shape:
        raise CounterpointError(
            f"states of student {tuple(student_BLd.shape)} and teacher {tuple(teacher_BLd.shape)} differ; project the student's to the "
            "teacher's width, and give both the same tokens"
        )
    teacher = teacher_BLd.detach()
    if kind == "pkd":
        apart = normalize(student_BLd[:, 0], dim=1) - normalize(teacher[:, 0], dim=1)
        return Loss((apart**2).sum(1))
    if kind == "mse":
        values = ((student_BLd - teacher) ** 2).mean(2)
    elif kind == "cosine":
        values = 1 - cosine_similarity(student_BLd, teacher, dim=2)
    elif kind == "ce":
        values = -(teacher.softmax(2) * student_BLd.log_softmax(2)).sum(2)
    else:
        raise CounterpointError(f"loss='{kind}'; {nearest(kind, STATES)}")
    mask = mask_BL.bool()
    return Loss(torch.where(mask, values, 0).sum(1), counts=mask.sum(1).to(values.dtype))
