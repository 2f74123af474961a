"""Label distributions: the properties that are claimed of them, loops, finite differences, extremes, invariances."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference.label_distribution import (
    distinguished,
    distribution_advantages,
    label_distribution,
    listwise,
    of_prompts,
)

NAN = math.nan
SCORES = st.lists(st.floats(-20, 20), min_size=2, max_size=8)


def softmax(values: list[float]) -> list[float]:
    there = [v for v in values if not math.isnan(v)]
    top = max(there)
    total = sum(math.exp(v - top) for v in there)
    return [NAN if math.isnan(v) else math.exp(v - top) / total for v in values]


@given(scores=SCORES, temperature=st.floats(0.05, 5))
@settings(max_examples=80, deadline=None)
def test_order_and_concentration(scores: list[float], temperature: float) -> None:
    """A higher score has a larger share; what is a gap or more below the best holds at most (N - 1) exp(-gap / temperature)."""
    shares = label_distribution(torch.tensor([scores], dtype=torch.float64), temperature)[0].tolist()
    assert shares == pytest.approx(softmax([s / temperature for s in scores]))
    for i, one in enumerate(scores):
        for j, other in enumerate(scores):
            if one > other:
                assert shares[i] >= shares[j]
        gap = max(scores) - one
        below = sum(share for share, s in zip(shares, scores) if s <= max(scores) - gap)
        if gap > 0:
            assert below <= (len(scores) - 1) * math.exp(-gap / temperature) + 1e-12


@given(scores=SCORES, shift=st.floats(-100, 100))
@settings(max_examples=40, deadline=None)
def test_a_judge_that_is_harsh_to_all_changes_nothing(scores: list[float], shift: float) -> None:
    given = torch.tensor([scores], dtype=torch.float64)
    for kind in ("standardised", "uniform"):
        one, other = (
            distribution_advantages(label_distribution(each), kind) for each in (given, given + shift)
        )  # type: ignore[arg-type]
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_advantages_by_a_loop() -> None:
    scores = [[1.0, 3.0, 2.5, NAN], [2.0, 2.0, 2.0, 2.0], [NAN, NAN, NAN, 1.0], [NAN] * 4]
    shares = label_distribution(torch.tensor(scores, dtype=torch.float64), 0.7)
    found = {kind: distribution_advantages(shares, kind) for kind in ("standardised", "uniform")}  # type: ignore[arg-type]
    for p, row in enumerate(scores):
        there = [n for n, s in enumerate(row) if not math.isnan(s)]
        d = softmax([s / 0.7 for s in row]) if there else row
        assert shares[p].tolist() == pytest.approx(d, nan_ok=True)
        mean = sum(d[n] for n in there) / max(len(there), 1)
        square = sum((d[n] - mean) ** 2 for n in there)
        deviation = math.sqrt(square / (len(there) - 1)) if len(there) > 1 else 0.0
        for n in range(4):
            standard = (d[n] - mean) / (deviation + 1e-4) if n in there else 0.0
            uniform = len(there) * d[n] - 1 if n in there else 0.0
            assert found["standardised"][p, n].item() == pytest.approx(standard)
            assert found["uniform"][p, n].item() == pytest.approx(uniform)
    assert distinguished(torch.tensor(scores)).tolist() == [True, False, False, False]


def test_a_nearly_even_distribution_is_blown_up_by_the_deviation_alone() -> None:
    shares = label_distribution(torch.tensor([[3.0, 3.01, 2.99, 3.0]], dtype=torch.float64), 1.0)
    assert distribution_advantages(shares).abs().max() > 1.0
    assert distribution_advantages(shares, "uniform").abs().max() < 0.02


def test_a_one_hot_distribution() -> None:
    shares = label_distribution(torch.tensor([[0.0, 1.0, 0.5, 0.2]], dtype=torch.float64), 1e-3)
    torch.testing.assert_close(
        distribution_advantages(shares)[0],
        torch.tensor([-0.5, 1.5, -0.5, -0.5], dtype=torch.float64),
        rtol=1e-3,
        atol=0,
    )


def case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    logp, reference, scores = torch.randn(3, 4, 5, generator=g, dtype=torch.float64) * 2
    scores[1, 3] = NAN
    return logp, reference, label_distribution(scores, 0.8)


def test_listwise_by_a_loop_and_by_finite_differences() -> None:
    logp, reference, shares = case()
    values = listwise(logp, reference, shares, 0.3)
    for p in range(4):
        there = [n for n in range(5) if not math.isnan(shares[p, n])]
        q = softmax([0.3 * float(logp[p, n] - reference[p, n]) for n in there])
        expected = sum(
            float(shares[p, n]) * math.log(float(shares[p, n]) / q[k]) for k, n in enumerate(there)
        )
        assert values[p].item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda x: listwise(x, reference, shares, 0.3), logp.requires_grad_())
    fixed = reference.clone().requires_grad_()
    listwise(logp, fixed, shares).sum().backward()
    assert fixed.grad is None


def test_permutation_and_split() -> None:
    logp, reference, shares = case(1)
    order, inside = torch.tensor([2, 0, 3, 1]), torch.tensor([4, 2, 0, 1, 3])
    whole = listwise(logp, reference, shares)
    moved = listwise(*(each[order][:, inside] for each in (logp, reference, shares)))
    torch.testing.assert_close(moved, whole[order])
    parts = [listwise(logp[p], reference[p], shares[p]) for p in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_extremes_stay_finite() -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0], [NAN, NAN, NAN], [1e4, NAN, 1e4]])
    shares = label_distribution(scores, 0.5)
    assert shares[0].tolist() == [1.0, 0.0, 0.0]
    assert shares[1].isnan().all()
    assert shares[2, [0, 2]].tolist() == [0.5, 0.5]
    logp = torch.tensor([[-1e4, 0.0, -5.0]] * 3, requires_grad=True)
    values = listwise(logp, torch.zeros(3, 3), shares)
    loss = of_prompts(values, distinguished(scores))
    loss.mean().backward()
    assert values.isfinite().all()
    assert values[1] == 0
    assert logp.grad is not None
    assert logp.grad.isfinite().all()
    assert (logp.grad[1:] == 0).all()  # one has no score, the other equal ones
    assert not listwise(logp[:0], logp[:0], shares[:0]).numel()


def test_prompts_that_do_not_count_are_not_in_the_mean() -> None:
    values = torch.tensor([2.0, 100.0, 4.0])
    loss = of_prompts(values, torch.tensor([True, False, True]))
    assert float(loss.mean()) == 3.0
    assert float(of_prompts(values, torch.zeros(3, dtype=torch.bool)).mean()) == 0.0


@pytest.mark.parametrize("temperature", [0.0, -1.0, NAN])
def test_wrong_settings(temperature: float) -> None:
    with pytest.raises(CounterpointError, match="expected a number above 0"):
        label_distribution(torch.zeros(1, 2), temperature)
    with pytest.raises(CounterpointError, match="expected 'standardised' or 'uniform'"):
        distribution_advantages(torch.zeros(1, 2), "sum")  # type: ignore[arg-type]
