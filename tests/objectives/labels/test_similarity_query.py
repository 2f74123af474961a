"""Answered similarity queries: naive loops, gradients, the labelled triplet, exchange, extremes."""

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.judges.simulated import most_alike
from counterpoint.objectives.control.variational import gaussian_kl, squared_error
from counterpoint.objectives.labels.similarity_query import answered_query
from counterpoint.objectives.labels.triplet import triplet
from counterpoint.pairs.queries import Grouped, random_groups


def rows(count: int = 6, width: int = 4, scale: float = 1.0) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    return [scale * torch.randn(count, width, generator=draws, dtype=torch.float64) for _ in range(3)]


def naive(a: torch.Tensor, p: torch.Tensor, n: torch.Tensor, margin: float) -> list[float]:
    def far(x: torch.Tensor, y: torch.Tensor) -> float:
        return sum((float(u) - float(v)) ** 2 for u, v in zip(x, y))

    return [
        max(far(x, y) - far(x, z) + margin, 0) + max(far(x, y) - far(y, z) + margin, 0)
        for x, y, z in zip(a, p, n)
    ]


@pytest.mark.parametrize("margin", [0.1, 1.0, 5.0])
def test_against_loops(margin: float) -> None:
    a, p, n = rows()
    torch.testing.assert_close(
        answered_query(a, p, n, margin), torch.tensor(naive(a, p, n, margin), dtype=torch.float64)
    )


def test_is_the_labelled_squared_triplet_of_each_query() -> None:
    a, p, n = rows()
    for x, y, z, value in zip(a, p, n, answered_query(a, p, n, 0.7)):
        labelled = triplet(
            torch.stack([x, y, z]), torch.tensor([0, 0, 1]), margin=0.7, distance="squared", normalize=False
        )
        torch.testing.assert_close(labelled.values.sum(), value)


def test_gradients() -> None:
    a, p, n = (x.requires_grad_() for x in rows(4))
    assert torch.autograd.gradcheck(lambda *x: answered_query(*x, margin=2.0), (a, p, n))
    assert torch.autograd.gradcheck(lambda *x: answered_query(*x, margin=2.0, both=False), (a, p, n))


def test_anchor_and_positive_are_exchangeable_and_rows_permute() -> None:
    a, p, n = rows()
    torch.testing.assert_close(answered_query(a, p, n), answered_query(p, a, n))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(answered_query(a, p, n)[order], answered_query(a[order], p[order], n[order]))


def test_a_collapsed_embedding_keeps_its_loss_and_large_inputs_stay_finite() -> None:
    z = torch.zeros(3, 2)
    assert answered_query(z, z, z, 0.5).tolist() == [1.0, 1.0, 1.0]
    a, p, n = (x.requires_grad_() for x in rows(scale=1e4))
    answered_query(a, p, n).sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in (a, p, n))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(CounterpointError, match="one shape"):
        answered_query(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3, 3))


def test_the_person_breaks_ties_in_order_and_errs_with_low_rationality() -> None:
    assert most_alike(torch.zeros(1, 3, 2)).tolist() == [[0, 1, 2]]
    assert most_alike(torch.tensor([[[0.0], [2.0], [4.0]]])).tolist() == [[0, 1, 2]]
    assert most_alike(torch.tensor([[[0.0], [9.0], [10.0]]])).tolist() == [[1, 2, 0]]
    features = torch.randn(4000, 3, 2, generator=torch.Generator().manual_seed(0))
    draws = torch.Generator().manual_seed(1)
    agree = [
        float((most_alike(features, beta, draws)[:, 2] == most_alike(features)[:, 2]).float().mean())
        for beta in (0.0, 3.0, 100.0)
    ]
    assert 0.28 < agree[0] < 0.38 < agree[1] < agree[2]
    assert agree[2] > 0.95


def test_groups_are_distinct_uniform_and_served_as_inputs() -> None:
    groups = random_groups(4, 6000, 3, torch.Generator().manual_seed(0))
    assert all(len(set(group)) == 3 for group in groups[:200].tolist())
    assert groups.flatten().bincount(minlength=4).sub(4500).abs().max() < 200
    source = Grouped(torch.arange(8.0).view(4, 2), groups)
    assert source[torch.tensor([5])][0].shape == (1, 3, 2)
    with pytest.raises(CounterpointError, match="there are 2"):
        random_groups(2, 1, 3, torch.Generator())


def test_bound_of_the_autoencoder() -> None:
    mean, log_variance = (x.requires_grad_() for x in rows(3)[:2])
    prior = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
    known = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (log_variance / 2).exp()), prior
    )
    torch.testing.assert_close(gaussian_kl(mean, log_variance), known.sum(-1))
    assert torch.autograd.gradcheck(gaussian_kl, (mean, log_variance))
    assert torch.autograd.gradcheck(squared_error, (mean, log_variance))
