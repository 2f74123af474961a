"""Ranking and node contrast against float64 loops; gradients, extreme inputs, invariances; noise, negatives, edges."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import CounterpointError
from counterpoint.objectives.contrast.graph_contrast import node_contrast
from counterpoint.objectives.control.ranking import bpr, dot, frobenius
from counterpoint.pairs.edge_drop import retained_edges
from counterpoint.pairs.graph_noise import orthant_noise, perturb
from counterpoint.pairs.negatives import UniformNegatives, triples


def rows(n: int, d: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(
        n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True
    )


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 7), seed=st.integers(0, 99), tau=st.sampled_from([0.1, 0.2, 1.0]))
def test_node_contrast_equals_the_loop(n: int, seed: int, tau: float) -> None:
    a, b = rows(n, seed=seed).detach(), rows(n, seed=seed + 1000).detach()
    expected = []
    for v in range(n):
        cosines = [(a[v] @ b[m] / (a[v].norm() * b[m].norm())).item() for m in range(n)]
        expected.append(-cosines[v] / tau + math.log(sum(math.exp(c / tau) for c in cosines)))
    assert node_contrast(a, b, tau).tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_node_contrast_gradients_and_one_way_negatives() -> None:
    a, b = rows(4), rows(4, seed=1)
    assert torch.autograd.gradcheck(lambda x, y: node_contrast(x, y, 0.2), (a, b))
    # The other nodes' first views take no part in a node's loss.
    (grad,) = torch.autograd.grad(node_contrast(a, b, 0.2)[0], a)
    assert torch.equal(grad[1:], torch.zeros_like(grad[1:]))


def test_node_contrast_does_not_depend_on_order_or_length() -> None:
    a, b = rows(6), rows(6, seed=1)
    order = torch.randperm(6)
    loss = node_contrast(a, b, 0.15)
    assert torch.allclose(node_contrast(a[order], b[order], 0.15), loss[order], rtol=1e-12)
    assert torch.allclose(node_contrast(3 * a, b / 7, 0.15), loss, rtol=1e-10)


def test_node_contrast_of_one_node_and_of_zero_rows() -> None:
    one = node_contrast(rows(1), rows(1, seed=1), 0.1)
    assert one.tolist() == pytest.approx([0.0], abs=1e-12)
    zero = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    loss = node_contrast(zero, zero, 0.1)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([math.log(3)] * 3)
    assert zero.grad is not None
    assert zero.grad.isfinite().all()
    with pytest.raises(CounterpointError, match="two views of shape"):
        node_contrast(rows(2), rows(3), 0.1)


def test_bpr_values_gradients_and_bound() -> None:
    positive, negative = (
        rows(6)[:, 0].detach().requires_grad_(),
        rows(6, seed=2)[:, 0].detach().requires_grad_(),
    )
    expected = [
        -math.log(1e-5 + 1 / (1 + math.exp(-(p - n)))) for p, n in zip(positive.tolist(), negative.tolist())
    ]
    assert bpr(positive, negative).tolist() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(bpr, (positive, negative))
    assert torch.autograd.gradcheck(lambda p, n: bpr(p, n, 0.0), (positive, negative))
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = bpr(far, torch.zeros(2))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0.0, -math.log(1e-5)], abs=2e-5)
    assert far.grad is not None
    assert far.grad.tolist() == [0.0, 0.0], "the bound ends the slope of a hopeless pair"
    (slope,) = torch.autograd.grad(bpr(far, torch.zeros(2), 0.0).sum(), far)
    assert slope.tolist() == [0.0, -1.0]
    assert bpr(far, torch.zeros(2), 0.0).tolist() == pytest.approx([0.0, 1e4])


def test_bpr_pushes_the_right_way() -> None:
    positive, negative = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    bpr(positive, negative).sum().backward()
    assert positive.grad is not None
    assert negative.grad is not None
    assert positive.grad < 0 < negative.grad


def test_frobenius_is_not_squared_and_counts_repeats() -> None:
    table = rows(3)
    gathered = table[torch.tensor([0, 0, 2])]
    expected = math.sqrt(sum(v.item() ** 2 for row in (0, 0, 2) for v in table[row])) / 3
    assert frobenius(gathered, size=3).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x, y: frobenius(x, y, size=3), (rows(3), rows(3, seed=1)))
    zero = torch.zeros(2, 2, requires_grad=True)
    frobenius(zero, size=1).sum().backward()
    assert zero.grad is not None
    assert zero.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_noise_has_length_eps_stays_in_the_orthant_and_carries_no_gradient() -> None:
    x = rows(50, 8)
    noisy = orthant_noise(0.3, torch.Generator().manual_seed(0))
    assert noisy is not None
    y = noisy(x, 1, None)
    assert torch.allclose((y - x).norm(dim=1), torch.full((50,), 0.3, dtype=torch.float64))
    assert torch.equal(y.sign(), x.sign())
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad, torch.ones_like(grad))
    assert not torch.equal(noisy(x, 2, None), y)
    assert orthant_noise(0.0, torch.Generator()) is None


def test_noise_leaves_isolated_nodes_alone() -> None:
    assert perturb(torch.zeros(2, 3), torch.rand(2, 3), 0.5).tolist() == torch.zeros(2, 3).tolist()
    assert perturb(torch.ones(1, 3), torch.zeros(1, 3), 0.5).isfinite().all()


def test_negatives_are_uniform_over_the_unseen() -> None:
    pairs = torch.tensor([[0, 0, 0, 1], [1, 3, 4, 0]])
    draw = UniformNegatives(pairs, num_users=2, num_items=6)
    asked = torch.zeros(30_000, dtype=torch.int64)
    t = draw(
        asked, torch.ones_like(asked), torch.rand(len(asked), generator=torch.Generator().manual_seed(0))
    )
    counts = Counter((t.nodes[t.negative] - 2).tolist())
    assert set(counts) == {0, 2, 5}
    assert all(abs(count - 10_000) < 400 for count in counts.values())


def test_triples_know_their_nodes() -> None:
    users, positives, negatives = torch.tensor([3, 1, 3]), torch.tensor([0, 2, 2]), torch.tensor([5, 0, 5])
    t = triples(users, positives, negatives, num_users=4)
    assert t.nodes[t.user].tolist() == users.tolist()
    assert (t.nodes[t.positive] - 4).tolist() == positives.tolist()
    assert (t.nodes[t.negative] - 4).tolist() == negatives.tolist()
    assert t.nodes[t.users].tolist() == [1, 3]
    assert (t.nodes[t.positives] - 4).tolist() == [0, 2]


def test_dropped_edges_are_counted_and_distinct() -> None:
    kept = retained_edges(101, 0.3, torch.Generator().manual_seed(0))
    assert len(kept) == int(101 * 0.7) == len(kept.unique())
    with pytest.raises(CounterpointError, match="dropped=1"):
        retained_edges(10, 1.0, torch.Generator())


def test_dot() -> None:
    assert dot(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])).tolist() == [11.0]
