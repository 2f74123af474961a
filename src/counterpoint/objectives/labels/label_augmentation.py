"""One classifier over (class, transformation) pairs, and the ensemble that falls out of it (arXiv 1910.05872, SLA).

Asking a network for the class of a rotated image *whatever* the rotation, and for the rotation, pulls it two ways; asking
for both at once does not. Conditioned on the known transformation, M transformed copies give M predictions of the class;
their mean logits are the ensemble, and a plain head can learn it in one pass.

Shapes: B images, M transformations, N classes. Rows are interleaved, x1t1, x1t2, ..., x2t1, ...; the joint label of a row
is ``class * M + transformation``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from counterpoint.errors import CounterpointError


def joint_labels(labels: Tensor, num_transforms: int) -> Tensor:
    """Joint labels [B * M] of interleaved rows.

    >>> joint_labels(torch.tensor([1]), 2).tolist()
    [2, 3]
    """
    places = torch.arange(num_transforms, device=labels.device)
    return (labels[:, None] * num_transforms + places).flatten()


def joint_loss(joint_logits: Tensor, labels: Tensor, num_transforms: int) -> Tensor:
    """L_SLA [B]: cross-entropy over joint labels, mean over the transformations of an image.

    Args:
        joint_logits: [B * M, N * M]. labels: [B]. num_transforms: M.

    Raises:
        CounterpointError: shapes that do not fit.
    """
    _check(joint_logits, labels, num_transforms)
    rows = cross_entropy(joint_logits, joint_labels(labels, num_transforms), reduction="none")
    return rows.view(-1, num_transforms).mean(1)


def aggregated_logits(joint_logits: Tensor, num_transforms: int) -> Tensor:
    """SLA+AG [B, N]: each copy's logits of its own transformation's columns, averaged over the copies."""
    table = joint_logits.view(-1, num_transforms, joint_logits.shape[1] // num_transforms, num_transforms)
    return table.diagonal(dim1=1, dim2=3).mean(-1)


def single_logits(joint_logits: Tensor, num_transforms: int) -> Tensor:
    """SLA+SI [B, N]: the untransformed copy's logits of the identity's columns.

    >>> single_logits(torch.arange(8.0).view(2, 4), 2).tolist()
    [[0.0, 2.0]]
    """
    return joint_logits[::num_transforms, ::num_transforms]


def ensemble_distillation(
    plain_logits: Tensor, joint_logits: Tensor, labels: Tensor, num_transforms: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The two terms of a plain head that learns the ensemble (SLA+SD), each [B].

    Args:
        plain_logits: [B, N], of the untransformed rows. joint_logits: [B * M, N * M], the teacher; carries no gradient here.

    Returns:
        ``T^2 KL(softmax(s/T) || softmax(a/T))`` to the aggregated s, and the cross-entropy with the labels.
    """
    _check(joint_logits, labels, num_transforms)
    teacher = log_softmax(aggregated_logits(joint_logits, num_transforms).detach() / temperature, 1)
    student = log_softmax(plain_logits / temperature, 1)
    divergence = temperature**2 * (teacher.exp() * (teacher - student)).sum(1)
    return divergence, cross_entropy(plain_logits, labels, reduction="none")


def augmented_loss(class_logits: Tensor, labels: Tensor, num_transforms: int) -> Tensor:
    """L_DA [B], the baseline that asks for the class whatever the transformation; class_logits [B * M, N]."""
    rows = cross_entropy(class_logits, labels.repeat_interleave(num_transforms), reduction="none")
    return rows.view(-1, num_transforms).mean(1)


def transformation_loss(transform_logits: Tensor, num_transforms: int) -> Tensor:
    """[B], the self-supervised half of the multi-task baseline L_MT; transform_logits [B * M, M]."""
    places = torch.arange(num_transforms, device=transform_logits.device)
    wanted = places.repeat(len(transform_logits) // num_transforms)
    return cross_entropy(transform_logits, wanted, reduction="none").view(-1, num_transforms).mean(1)


def _check(joint_logits: Tensor, labels: Tensor, num_transforms: int) -> None:
    rows, columns = joint_logits.shape
    if rows != len(labels) * num_transforms or columns % num_transforms:
        raise CounterpointError(
            f"joint logits {tuple(joint_logits.shape)} for {len(labels)} images and {num_transforms} transformations; expected "
            f"[{len(labels) * num_transforms}, classes * {num_transforms}], rows interleaved image by image"
        )
