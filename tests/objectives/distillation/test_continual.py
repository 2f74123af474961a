"""Terms of continual learning: naive loops, gradients, nothing replayed, padding, extremes, and parts of a batch."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import kernel_path
from counterpoint.objectives.contrast.infonce import symmetric_info_nce
from counterpoint.objectives.distillation.continual import (
    audio_text_contrast,
    distillation_share,
    old_class_distillation,
    replayed_contrast,
    token_distillation,
)
from counterpoint.objectives.labels.supervised import supcon_out

LABELS = torch.tensor([0, 0, 1, 2, 5, 5, 6])
OLD = torch.tensor([True, True, True, True, False, False, False])
FORMS = [
    {"negatives": n, "self_positive": p, "self_negative": s}
    for n in ("student", "teacher")
    for p in (True, False)
    for s in (True, False)
]


def rows(seed: int, n: int = 7, width: int = 5) -> torch.Tensor:
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def naive(z, labels, old, t, tau, negatives, self_positive, self_negative):
    z, t = F.normalize(z, dim=1), F.normalize(t, dim=1)
    anchors = []
    for k in range(len(z)):
        places = [p for p in range(len(z)) if labels[p] == labels[k] and (self_positive or p != k)]
        if not old[k] or not places:
            continue
        total = 0.0
        for p in places:
            below = 0.0
            for i in range(len(z)):
                if self_negative or i != k:
                    other = t[i] if negatives == "teacher" else z[i]
                    below = below + torch.exp(z[k] @ other / tau)
            total = total - torch.log(torch.exp(z[k] @ t[p] / tau) / below)
        anchors.append(total / len(places))
    return torch.stack(anchors).mean()


@pytest.mark.parametrize("path", ["plain", "stream"])
@pytest.mark.parametrize("form", FORMS)
def test_it_is_the_loop_and_its_gradient(form, path):
    z, t = rows(0).requires_grad_(), rows(1)
    expected = naive(z, LABELS, OLD, t, 0.3, **form)
    (gradient,) = torch.autograd.grad(expected, z)
    with kernel_path(path, budget_bytes=1024):
        loss = replayed_contrast(z, LABELS, OLD, t, temperature=0.3, **form).mean()
        (mine,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(mine, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS[::3])
def test_gradcheck(form):
    t = rows(1)
    torch.autograd.gradcheck(
        lambda z: replayed_contrast(z, LABELS, OLD, t, **form).values, rows(0).requires_grad_()
    )
    torch.autograd.gradcheck(
        lambda a, b: audio_text_contrast(a, b, LABELS, ~OLD).values,
        (rows(0).requires_grad_(), rows(1).requires_grad_()),
    )
    torch.autograd.gradcheck(
        lambda a: old_class_distillation(a, rows(2)[:, :3], 2.0), rows(0).requires_grad_()
    )


@pytest.mark.parametrize("path", ["plain", "stream"])
def test_nothing_replayed_is_no_loss_and_no_gradient(path):
    none = torch.zeros(7, dtype=torch.bool)
    with kernel_path(path, budget_bytes=1024):
        for teacher in (rows(1), None):
            z = rows(0).requires_grad_()
            loss = replayed_contrast(z, LABELS, none, teacher, self_positive=teacher is not None)
            loss.mean().backward()
            assert loss.mean() == 0
            assert float(loss.counts.sum()) == 0
            assert torch.equal(z.grad, torch.zeros_like(z))
        a, b = rows(0).requires_grad_(), rows(1).requires_grad_()
        audio_text_contrast(a, b, LABELS, none).mean().backward()
        assert torch.equal(a.grad, torch.zeros_like(a))
        assert torch.equal(b.grad, torch.zeros_like(b))


def test_an_anchor_without_positive_is_left_out_of_the_mean():
    loss = replayed_contrast(rows(0), LABELS, OLD, rows(1), self_positive=False)
    assert loss.counts.tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert loss.values[2:].tolist() == [0] * 5


def test_the_teacher_gets_no_gradient_and_new_rows_are_pushed_away():
    z, t = rows(0).requires_grad_(), rows(1).requires_grad_()
    replayed_contrast(z, LABELS, OLD, t).mean().backward()
    assert t.grad is None
    assert float(z.grad[4:].abs().sum()) > 0  # the student's new vectors stand in the denominator
    z.grad = None
    replayed_contrast(z, LABELS, OLD, t, negatives="teacher").mean().backward()
    assert torch.equal(z.grad[4:], torch.zeros(3, 5, dtype=torch.float64))


def test_forms_fall_back_on_known_losses():
    z = rows(0)
    everyone = torch.ones(7, dtype=torch.bool)
    mine = replayed_contrast(z, LABELS, everyone, temperature=0.2, self_positive=False, self_negative=False)
    torch.testing.assert_close(mine.values, supcon_out(z, LABELS, temperature=0.2).values)
    single = torch.arange(7)
    torch.testing.assert_close(
        audio_text_contrast(z, rows(1), single, temperature=0.2).values,
        symmetric_info_nce(z, rows(1), temperature=0.2),
    )


def test_the_printed_sum_keeps_the_loss_above_zero_and_the_other_does_not():
    same = torch.ones(2, 3, dtype=torch.float64)
    labels, old = torch.tensor([0, 1]), torch.tensor([True, False])
    away = torch.tensor([[1.0, 1, 1], [-1, -1, -1]], dtype=torch.float64)
    assert float(replayed_contrast(away, labels, old, same, self_negative=True).mean()) >= 0
    assert float(replayed_contrast(away, labels, old, same, self_negative=False).mean()) < 0


@pytest.mark.parametrize("count", [1, 2])
def test_tiny_batches_and_huge_vectors_stay_finite(count):
    z = (rows(0, count) * 1e4).requires_grad_()
    labels, old = torch.arange(count), torch.ones(count, dtype=torch.bool)
    for options in FORMS:
        loss = replayed_contrast(z, labels, old, rows(1, count), temperature=0.01, **options).mean()
        (gradient,) = torch.autograd.grad(loss + audio_text_contrast(z, rows(1, count), labels).mean(), z)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_order_does_not_matter_and_ranks_see_one_batch():
    z, t, order = rows(0), rows(1), torch.tensor([3, 6, 1, 0, 5, 2, 4])
    whole = replayed_contrast(z, LABELS, OLD, t, self_positive=False, self_negative=False)
    mixed = replayed_contrast(
        z[order], LABELS[order], OLD[order], t[order], self_positive=False, self_negative=False
    )
    torch.testing.assert_close(mixed.values, whole.values[order])
    heard = audio_text_contrast(z, t, LABELS, ~OLD)
    for part in (slice(0, 3), slice(3, 7)):
        mine = replayed_contrast(
            z[part],
            LABELS[part],
            OLD[part],
            t[part],
            self_positive=False,
            self_negative=False,
            candidates=(z, t, LABELS),
            offset=part.start,
        )
        torch.testing.assert_close(mine.values, whole.values[part])
        assert torch.equal(mine.counts, whole.counts[part])
        own = audio_text_contrast(z[part], t[part], LABELS[part], ~OLD[part], candidates=(z, t, LABELS, ~OLD))
        torch.testing.assert_close(own.values, heard.values[part])


def test_old_classes_alone_are_distilled_with_a_mean_over_classes():
    student, teacher, tau = rows(0).requires_grad_(), rows(1)[:, :3], 2.0
    expected = []
    for p_row, q_row in zip(student, teacher, strict=True):
        p, q = (p_row[:3] / tau).softmax(0), (q_row / tau).softmax(0)
        expected.append(tau**2 * sum(q[c] * (q[c].log() - p[c].log()) for c in range(3)) / 3)
    losses = old_class_distillation(student, teacher, tau)
    torch.testing.assert_close(losses, torch.stack(expected))
    losses.sum().backward()
    assert torch.equal(student.grad[:, 3:], torch.zeros(7, 2, dtype=torch.float64))
    assert distillation_share(10, 0) == 0


@pytest.mark.parametrize("path", ["plain", "stream"])
def test_token_distillation_skips_padding(path):
    logits = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    student = logits.clone().requires_grad_()
    teacher = logits.flip(0)
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    padded = teacher.clone()
    padded[1, 1:] = math.nan
    expected, count = 0.0, 0
    for b in range(2):
        for place in range(4):
            if mask[b, place]:
                p, q = teacher[b, place].softmax(0), student[b, place].log_softmax(0)
                expected, count = expected - sum(p[v] * q[v] for v in range(6)), count + 1
    with kernel_path(path, budget_bytes=1024):
        loss = token_distillation(student, padded, mask)
        (mine,) = torch.autograd.grad(loss.mean(), student)
    torch.testing.assert_close(loss.mean(), expected / count)
    torch.testing.assert_close(mine, torch.autograd.grad(expected / count, student)[0])
    assert loss.counts.tolist() == [4, 1]


@pytest.mark.parametrize(
    ("call", "lesson"),
    [
        (lambda: replayed_contrast(rows(0), LABELS, OLD), "no teacher was given"),
        (lambda: replayed_contrast(rows(0), LABELS, OLD, rows(1), negatives="studnt"), "'student'"),
        (lambda: replayed_contrast(rows(0), LABELS, OLD, rows(1)[:, :2]), "same rows and width"),
        (lambda: replayed_contrast(rows(0), LABELS, OLD, rows(1), temperature=0.0), "above 0"),
        (lambda: replayed_contrast(rows(0), LABELS[:3], OLD, rows(1)), "expected"),
        (lambda: audio_text_contrast(rows(0), rows(1)[:3], LABELS), "expected"),
        (lambda: old_class_distillation(rows(0)[:, :2], rows(1)), "first among"),
    ],
)
def test_wrong_input_teaches(call, lesson):
    with pytest.raises(CounterpointError, match=lesson):
        call()
