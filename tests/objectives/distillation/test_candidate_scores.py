"""Distillation of scores by loops, by differences, at extremes; what a teacher's scores may change without changing the loss."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.objectives.distillation.candidate_scores import (
    fused_scores,
    margin_error,
    rescaled_scores,
    score_distillation,
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    total = sum(math.exp(each - top) for each in row)
    return [math.exp(each - top) / total for each in row]


def test_divergence_and_margins_by_a_loop() -> None:
    student, teacher = drawn(3, 5), 3 * drawn(3, 5, seed=1)
    losses, margins = score_distillation(student, teacher, 0.5), margin_error(student, teacher)
    for b in range(3):
        s, t = student[b].tolist(), teacher[b].tolist()
        p, q = softmax([2 * x for x in t]), softmax([2 * x for x in s])
        assert float(losses[b]) == pytest.approx(sum(x * math.log(x / y) for x, y in zip(p, q)), rel=1e-10)
        pairs = [((s[i] - s[j]) - (t[i] - t[j])) ** 2 for i in range(5) for j in range(5)]
        assert float(margins[b]) == pytest.approx(sum(pairs) / 25, rel=1e-10)


def test_gradients_by_differences_and_none_for_the_teacher() -> None:
    student, teacher = drawn(2, 4).requires_grad_(), drawn(2, 4, seed=1).requires_grad_()
    for loss in (score_distillation, margin_error):
        assert torch.autograd.gradcheck(lambda s, loss=loss: loss(s, teacher.detach()).sum(), student)
        loss(student, teacher).sum().backward()
    assert teacher.grad is None


def test_what_the_relaxation_leaves_free() -> None:
    """A shift of a query's scores, and a part of its vector that no candidate has, change nothing."""
    documents, query, target = drawn(4, 6, seed=2), drawn(6, seed=3), drawn(6, seed=4)
    documents[:, 5] = 0.0
    moved = query.clone()
    moved[5] += 10.0
    teacher = (documents @ target)[None]
    near, far = (score_distillation((documents @ each)[None], teacher) for each in (query, moved))
    torch.testing.assert_close(near, far, rtol=0, atol=1e-12)
    shifted = score_distillation((documents @ query)[None] + 7.0, teacher - 3.0)
    torch.testing.assert_close(shifted, near, rtol=0, atol=1e-9)
    assert float(score_distillation(teacher, teacher)) == pytest.approx(0.0, abs=1e-12)


def test_extremes() -> None:
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = score_distillation(student, torch.tensor([[-1e4, 1e4, 0.0]]))
    loss.sum().backward()
    assert loss.tolist() == [2e4]
    assert student.grad.tolist() == [[1.0, -1.0, 0.0]]
    assert score_distillation(student[:, :1], student[:, :1]).tolist() == [0.0]
    assert not score_distillation(student[:0], student[:0]).numel()


@pytest.mark.parametrize("loss", [score_distillation, margin_error])
def test_order_of_queries_and_candidates(loss: object) -> None:
    student, teacher = drawn(3, 5), drawn(3, 5, seed=1)
    whole = loss(student, teacher)  # type: ignore[operator]
    rows, columns = torch.tensor([2, 0, 1]), torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(loss(student[rows], teacher[rows]), whole[rows], rtol=0, atol=1e-12)  # type: ignore[operator]
    torch.testing.assert_close(loss(student[:, columns], teacher[:, columns]), whole, rtol=0, atol=1e-12)  # type: ignore[operator]
    parts = [loss(s, t) for s, t in zip(student.split(2), teacher.split(2))]  # type: ignore[operator]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-12)


def test_fusion_by_a_loop() -> None:
    scores = 5 * drawn(3, 2, 4)
    ways = {how: fused_scores(scores, how) for how in ("mean", "max", "scaled")}  # type: ignore[arg-type]
    for b in range(2):
        rows = [scores[k, b].tolist() for k in range(3)]
        low = sum(map(min, rows)) / 3
        width = sum(max(row) - min(row) for row in rows) / 3
        for n in range(4):
            column = [row[n] for row in rows]
            share = sum((row[n] - min(row)) / (max(row) - min(row)) for row in rows) / 3
            expected = {"mean": sum(column) / 3, "max": max(column), "scaled": share * width + low}
            for how, value in expected.items():
                assert float(ways[how][b, n]) == pytest.approx(value, rel=1e-10), how
    torch.testing.assert_close(fused_scores(scores[:1], "scaled"), scores[0])
    assert fused_scores(torch.ones(2, 1, 3), "scaled").tolist() == [[1.0, 1.0, 1.0]]


def test_the_mean_of_scores_is_the_score_of_the_mean() -> None:
    queries, documents = drawn(2, 3, 5), drawn(4, 5, seed=1)
    torch.testing.assert_close(fused_scores(queries @ documents.T), queries.mean(0) @ documents.T)


def test_scores_of_another_kind_take_the_references_range() -> None:
    scores, reference = drawn(2, 4), 9 * drawn(2, 7, seed=1)
    scaled = rescaled_scores(scores, reference)
    torch.testing.assert_close(scaled.amin(1), reference.amin(1))
    torch.testing.assert_close(scaled.amax(1), reference.amax(1), rtol=1e-6, atol=1e-6)
    assert (scaled.argsort(1) == scores.argsort(1)).all()
    flat = rescaled_scores(torch.ones(1, 3), reference[:1])
    assert flat.tolist() == [[float(reference[0].min())] * 3], "equal scores have no range of their own"


def test_wrong_input() -> None:
    with pytest.raises(CounterpointError, match="the same candidates"):
        score_distillation(drawn(2, 3), drawn(2, 4))
    with pytest.raises(CounterpointError, match="at least one"):
        margin_error(drawn(2, 0), drawn(2, 0))
    with pytest.raises(CounterpointError, match="at least one teacher"):
        fused_scores(drawn(0, 2, 3))
    with pytest.raises(CounterpointError, match="fusion='min'"):
        fused_scores(drawn(1, 2, 3), "min")  # type: ignore[arg-type]
