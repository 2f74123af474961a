"""Feature matching: the student's last hidden states follow the teacher's (UniSD 2605.06597, eq. 6).

e_t = ||f_t - f*_t||^2, divided by the width unless told (the paper prints no division, its code divides). The states
are those that feed the output head, at the position that predicts the token.
"""

from __future__ import annotations

from torch import Tensor

from counterpoint.errors import CounterpointError


def feature_distance(student_BTd: Tensor, teacher_BTd: Tensor, mean: bool = True) -> Tensor:
    """Return squared distances [B, T] of hidden states [B, T, d]; the teacher is a constant.

    Raises:
        CounterpointError: widths differ, so the states cannot be compared without a projection.

    >>> import torch
    >>> feature_distance(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 3.0]]])).tolist()
    [[5.0]]
    """
    if student_BTd.shape != teacher_BTd.shape:
        raise CounterpointError(
            f"hidden states of student {tuple(student_BTd.shape)} and teacher {tuple(teacher_BTd.shape)} differ; feature "
            "matching needs a teacher of the student's own architecture, or a projection to its width"
        )
    squared = (student_BTd - teacher_BTd.detach()).square()
    return squared.mean(-1) if mean else squared.sum(-1)
