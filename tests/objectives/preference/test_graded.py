"""Margins and ties: a loop by the models' probabilities, what sums to one, gradients, extremes, and wrong settings."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference.graded import Graded, graded_losses
from counterpoint.objectives.preference.preference import Pair, pairwise, preference_logit


def probability(d: float, tie: bool, ties: str, nu: float) -> float:
    """By the strengths exp(d) and 1 of the two answers, as the models are written."""
    one, other = math.exp(d), 1.0
    if ties == "rao_kupper":
        both = (one + nu * other) * (other + nu * one)
        return (nu**2 - 1) * one * other / both if tie else one / (one + nu * other)
    middle = 2 * nu * math.sqrt(one * other)
    return (middle if tie else one) / (one + other + middle)


@pytest.mark.parametrize(("ties", "nu"), [("rao_kupper", 3.0), ("rao_kupper", 1.5), ("davidson", 1.0), ("davidson", 0.2)])  # fmt: skip
def test_a_loop_gives_the_same_and_outcomes_sum_to_one(ties: str, nu: float) -> None:
    logit = torch.linspace(-4, 4, 9, dtype=torch.float64)
    for tie in (False, True):
        losses = graded_losses(logit, torch.full((9,), tie), ties, nu)  # type: ignore[arg-type]
        for d, loss in zip(logit.tolist(), losses.tolist()):
            assert loss == pytest.approx(-math.log(probability(d, tie, ties, nu)), rel=1e-12)
    no, yes = torch.zeros(9, dtype=torch.bool), torch.ones(9, dtype=torch.bool)
    win, lose, tied = (
        (-graded_losses(d, t, ties, nu)).exp()
        for d, t in ((logit, no), (-logit, no), (logit, yes))  # type: ignore[arg-type]
    )
    torch.testing.assert_close(win + lose + tied, torch.ones(9, dtype=torch.float64))


@pytest.mark.parametrize("ties", ["none", "rao_kupper", "davidson"])
def test_gradients_and_extremes(ties: str) -> None:
    tie = torch.tensor([False, False, ties != "none", ties != "none"])
    start = torch.tensor([0.3, -1.2, 0.4, -2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: graded_losses(d, tie, ties, 2.0), start)  # type: ignore[arg-type]
    far = torch.tensor([1e4, -1e4, 1e4, -1e4], requires_grad=True)
    losses = graded_losses(far, tie, ties, 2.0)  # type: ignore[arg-type]
    losses.sum().backward()
    half = 5e3 - math.log(4.0)
    values, slopes = {
        "none": ([0.0, 1e4, 0.0, 1e4], [0.0, -1.0, 0.0, -1.0]),
        "rao_kupper": ([0.0, 1e4 + math.log(2.0), *[1e4 + math.log(2 / 3)] * 2], [0.0, -1.0, 1.0, -1.0]),
        "davidson": ([0.0, 1e4, half, half], [0.0, -1.0, 0.5, -0.5]),
    }[ties]
    assert losses.tolist() == pytest.approx(values, rel=1e-6)
    assert far.grad is not None
    assert far.grad.tolist() == slopes


def test_without_margins_and_ties_it_is_dpo() -> None:
    drawn = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pair, none = Pair(*drawn), torch.zeros(6, dtype=torch.bool)
    logit = preference_logit(pair, beta=0.3)
    torch.testing.assert_close(
        Graded().losses(logit, none.double(), none), pairwise("sigmoid", pair, beta=0.3)
    )
    moved = Graded(offset=0.5).losses(logit, torch.full((6,), 2.0, dtype=torch.float64), none)
    torch.testing.assert_close(moved, torch.log1p(torch.exp(-(logit - 1.0))))


def test_a_tie_draws_the_two_together() -> None:
    for ties in ("rao_kupper", "davidson"):
        logit = torch.tensor([1.5, -1.5], requires_grad=True)
        graded_losses(logit, torch.ones(2, dtype=torch.bool), ties, 2.0).sum().backward()  # type: ignore[arg-type]
        assert logit.grad is not None
        assert logit.grad[0] > 0 > logit.grad[1]


def test_wrong_settings() -> None:
    with pytest.raises(CounterpointError, match="the data hold ties"):
        graded_losses(torch.zeros(1), torch.tensor([True]), "none", 1.0)
    for settings in (
        {"tie_rate": 2.0},
        {"ties": "rao_kupper", "tie_rate": 1.0},
        {"ties": "davidson", "tie_rate": 0.0},
    ):
        with pytest.raises(CounterpointError, match="tie_rate"):
            Graded(**settings)  # type: ignore[arg-type]
