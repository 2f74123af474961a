"""SLA's losses: naive float64 loops, gradcheck, multi-task learning as a special case, order of images, extremes."""

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.labels.label_augmentation import (
    aggregated_logits,
    augmented_loss,
    ensemble_distillation,
    joint_loss,
    single_logits,
    transformation_loss,
)

B, N, M = 3, 4, 2


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([2, 0, 3])


def test_loops() -> None:
    joint, plain = logits(B * M, N * M), logits(B, N, seed=1)
    expected, aggregated = [], []
    for b in range(B):
        losses = []
        for j in range(M):
            row = joint[b * M + j]
            losses.append(torch.log(sum(x.exp() for x in row)) - row[LABELS[b] * M + j])
        expected.append(sum(losses) / M)
        aggregated.append(
            torch.stack([sum(joint[b * M + j, i * M + j] for j in range(M)) / M for i in range(N)])
        )
    torch.testing.assert_close(joint_loss(joint, LABELS, M), torch.stack(expected))
    torch.testing.assert_close(aggregated_logits(joint, M), torch.stack(aggregated))
    for b in range(B):
        single = torch.stack([joint[b * M, i * M] for i in range(N)])
        torch.testing.assert_close(single_logits(joint, M)[b], single)
    divergence, label = ensemble_distillation(plain, joint, LABELS, M, temperature=2.0)
    for b in range(B):
        p, q = torch.softmax(aggregated[b] / 2, 0), torch.softmax(plain[b] / 2, 0)
        torch.testing.assert_close(divergence[b], 4 * sum(p[i] * (p[i] / q[i]).log() for i in range(N)))
        torch.testing.assert_close(label[b], -torch.log_softmax(plain[b], 0)[LABELS[b]])


def test_the_ensemble_is_a_constant() -> None:
    joint, plain = logits(B * M, N * M).requires_grad_(), logits(B, N, seed=1).requires_grad_()
    divergence, _ = ensemble_distillation(plain, joint, LABELS, M)
    divergence.sum().backward()
    assert joint.grad is None
    expected = torch.softmax(plain, 1) - torch.softmax(aggregated_logits(joint, M), 1)
    torch.testing.assert_close(plain.grad, expected.detach())


def test_gradcheck() -> None:
    joint = logits(B * M, N * M).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: joint_loss(x, LABELS, M), (joint,))


def test_multi_task_learning_is_the_joint_loss_of_summed_weights() -> None:
    """If every joint logit is a class logit plus a transformation logit, the joint softmax is their product."""
    classes, turns = logits(B * M, N), logits(B * M, M, seed=1)
    joint = (classes[:, :, None] + turns[:, None, :]).flatten(1)
    both = augmented_loss(classes, LABELS, M) + transformation_loss(turns, M)
    torch.testing.assert_close(joint_loss(joint, LABELS, M), both)


def test_order_of_images_does_not_matter() -> None:
    joint, order = logits(B * M, N * M), torch.tensor([2, 0, 1])
    moved = joint.view(B, M, -1)[order].flatten(0, 1)
    torch.testing.assert_close(joint_loss(moved, LABELS[order], M), joint_loss(joint, LABELS, M)[order])


@pytest.mark.parametrize("size", [1e4, 0.0])
def test_extremes(size: float) -> None:
    joint, plain = (
        (size * logits(M, N * M).float()).requires_grad_(),
        (size * logits(1, N).float()).requires_grad_(),
    )
    terms = [joint_loss(joint, LABELS[:1], M), *ensemble_distillation(plain, joint, LABELS[:1], M)]
    sum(term.sum() for term in terms).backward()
    for found in (*terms, joint.grad, plain.grad):
        assert torch.isfinite(found).all()


def test_wrong_shapes_teach() -> None:
    with pytest.raises(CounterpointError, match="rows interleaved image by image"):
        joint_loss(logits(5, N * M), LABELS, M)
