"""Rank agreement between judges, against scipy and loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata, spearmanr

from counterpoint.errors import CounterpointError
from counterpoint.judges.agreement import agreement_rates, best_and_worst, first_of_each, ordinal_ranks


@given(seed=st.integers(0, 200), answers=st.integers(2, 7))
@settings(max_examples=50, deadline=None)
def test_against_scipy_and_under_permutation(seed: int, answers: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 3, answers, generator=g, dtype=torch.float64)
    order = torch.randperm(answers, generator=g)
    for measure, reference in (("kendall", kendalltau), ("spearman", spearmanr)):
        rates = agreement_rates(a, b, measure)
        for row in range(3):
            expected = (reference(a[row].numpy(), b[row].numpy()).statistic + 1) / 2
            assert rates[row].item() == pytest.approx(expected, abs=1e-12)
        torch.testing.assert_close(agreement_rates(a[:, order], b[:, order], measure), rates)
    torch.testing.assert_close(
        agreement_rates(a[:, order], b[:, order], "top_order"), agreement_rates(a, b, "top_order")
    )


@given(seed=st.integers(0, 500), answers=st.integers(2, 7))
@settings(max_examples=60, deadline=None)
def test_ties_as_published(seed: int, answers: int) -> None:
    """Ascending ordinal ranks, compared pair by pair: with ties in one ranking only, the rule moves the rate."""
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randint(0, 3, (2, 1, answers), generator=g).double()
    j, k = (rankdata(x[0].numpy(), method="ordinal").tolist() for x in (a, b))
    assert ordinal_ranks(a)[0].tolist() == [answers + 1 - rank for rank in j]
    agreeing = sum(
        (j[i] - j[m]) * (k[i] - k[m]) > 0 for i in range(answers) for m in range(i)
    )  # all ranks are distinct, so every other pair disagrees
    assert agreement_rates(a, b).item() == pytest.approx(agreeing / (answers * (answers - 1) / 2), abs=1e-12)


def test_the_rule_for_ties_is_a_setting() -> None:
    equal, rising = torch.zeros(1, 3), torch.tensor([[1.0, 2.0, 3.0]])
    assert (
        agreement_rates(equal, rising).item() == 1.0
    )  # the last of equals is best, and so is the last reward
    assert agreement_rates(equal, rising, ties="first").item() == 0.0
    valid = torch.tensor([[True, False, True]])
    assert ordinal_ranks(equal, valid).tolist() == [[2, 0, 1]]
    assert ordinal_ranks(equal, valid, "first").tolist() == [[1, 0, 2]]
    with pytest.raises(CounterpointError, match="'last'"):
        ordinal_ranks(equal, ties="average")


def test_left_out_answers_do_not_count() -> None:
    nan = float("nan")
    a = torch.tensor([[3.0, nan, 1.0, 9.0, 2.0]])
    b = torch.tensor([[1.0, 5.0, 2.0, 0.0, 3.0]])
    valid = torch.tensor([[True, True, True, False, True]])
    kept = [0, 2, 4]
    for measure in ("kendall", "spearman", "top_order"):
        torch.testing.assert_close(
            agreement_rates(a, b, measure, valid), agreement_rates(a[:, kept], b[:, kept], measure)
        )
    assert ordinal_ranks(a, valid).tolist() == [[1, 0, 3, 0, 2]]
    assert [i.tolist() for i in best_and_worst(a, valid)] == [[0], [2]]


def test_an_impossible_answer_still_ranks() -> None:
    worst = torch.tensor([[float("-inf"), 0.0, -5.0]])
    assert ordinal_ranks(worst, torch.tensor([[True, True, False]])).tolist() == [[2, 1, 0]]


def test_fewer_than_two_answers_have_no_rate() -> None:
    rates = agreement_rates(
        torch.zeros(2, 3), torch.zeros(2, 3), valid_PN=torch.tensor([[1, 0, 0], [1, 1, 0]])
    )
    assert rates.isnan().tolist() == [True, False]


def test_equal_rewards_count_as_agreement() -> None:
    assert agreement_rates(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 1.0  # why answers must be unique
    assert first_of_each(["4", "4\n", "5"]) == [True, False, True]


def test_top_order_means_the_extremes_coincide() -> None:
    a = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    assert agreement_rates(a, torch.tensor([[9.0, 1.0, 2.0, 0.0]]), "top_order").item() == 1.0
    assert agreement_rates(a, torch.tensor([[2.0, 9.0, 1.0, 0.0]]), "top_order").item() == 0.0
    assert agreement_rates(a, torch.tensor([[9.0, 1.0, 2.0, 0.0]]), "first_last").item() == 1.0


def test_errors_teach() -> None:
    with pytest.raises(CounterpointError, match="same answers"):
        agreement_rates(torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(CounterpointError, match="kendall"):
        agreement_rates(torch.zeros(1, 2), torch.zeros(1, 2), "tau")
