"""Sparse propagation and negative draws against dense loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.graph import Adjacency, bipartite_adjacency, propagate, propagate_rows
from counterpoint.kernels.negatives import interactions, observed, sample_negatives

USERS, ITEMS, D = 6, 7, 3


def edges() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    users, items = (
        torch.randint(0, USERS - 1, (20,), generator=g),
        torch.randint(0, ITEMS - 1, (20,), generator=g),
    )
    return torch.cat([users, users[:3]]), torch.cat(
        [items, items[:3]]
    )  # repeats; the last user and item have no edge


def dense(users: Tensor, items: Tensor) -> Tensor:
    table = torch.zeros(USERS + ITEMS, USERS + ITEMS, dtype=torch.float64)
    for u, i in zip(users.tolist(), items.tolist()):
        table[u, USERS + i] = table[USERS + i, u] = 1
    degree = table.sum(1)
    for r in range(len(table)):
        for c in range(len(table)):
            if table[r, c]:
                table[r, c] /= (degree[r] * degree[c]).sqrt()
    return table


def graph() -> Adjacency:
    return bipartite_adjacency(*edges(), USERS, ITEMS, dtype=torch.float64)


def test_adjacency_equals_a_loop() -> None:
    torch.testing.assert_close(graph().matrix.to_dense(), dense(*edges()), rtol=1e-12, atol=0)


@pytest.mark.parametrize("nodes", [None, [0, 3, 12, 8], [5], [2, 2, 9], []])
def test_propagation_and_gradient(nodes: list[int] | None) -> None:
    x = torch.randn(
        USERS + ITEMS, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ).requires_grad_()
    full = dense(*edges()) @ x
    if nodes is None:
        want, got = full, propagate(graph(), x)
    else:
        index = torch.tensor(nodes, dtype=torch.long)
        want, got = full[index], propagate_rows(graph(), x, index)
        assert torch.autograd.gradcheck(lambda x: propagate_rows(graph(), x, index), (x,))
    up = torch.randn(want.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        *(torch.autograd.grad(v, x, up)[0] for v in (got, want)), rtol=1e-12, atol=1e-14
    )


def test_negatives_are_uniform_over_the_unobserved() -> None:
    users, items = edges()
    known = interactions(users, items, USERS, ITEMS)
    seen = set(zip(users.tolist(), items.tolist()))
    for user in range(USERS):
        free = [i for i in range(ITEMS) if (user, i) not in seen]
        # The middle of each of the equal parts of [0, 1) must give each free item once, in order.
        draws = (torch.arange(len(free), dtype=torch.float64) + 0.5) / len(free)
        drawn = sample_negatives(known, torch.full((len(free),), user), draws)
        assert drawn.tolist() == free
    for user in range(USERS):
        for item in range(ITEMS):
            assert bool(observed(known, torch.tensor([user]), torch.tensor([item]))) == ((user, item) in seen)


def test_draws_have_any_trailing_shape_and_split() -> None:
    known = interactions(*edges(), USERS, ITEMS)
    users, draws = (
        torch.arange(USERS),
        torch.rand(USERS, 4, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64),
    )
    drawn = sample_negatives(known, users, draws)
    assert drawn.shape == draws.shape
    assert torch.equal(
        drawn,
        torch.cat(
            [sample_negatives(known, users[:2], draws[:2]), sample_negatives(known, users[2:], draws[2:])]
        ),
    )
    assert not observed(known, users[:, None, None], drawn).any()
    edge = sample_negatives(known, users, torch.full((USERS,), 1 - 1e-16, dtype=torch.float64))
    assert not observed(known, users, edge).any()
    assert int(edge.max()) < ITEMS
    assert sample_negatives(known, users, torch.Generator().manual_seed(0)).shape == users.shape


def test_errors_teach() -> None:
    users, items = edges()
    with pytest.raises(CounterpointError, match="map them first"):
        bipartite_adjacency(users, items + 5, USERS, ITEMS)
    with pytest.raises(CounterpointError, match=r"torch.cat\(\[users, items\]\)"):
        propagate(graph(), torch.zeros(3, 2, dtype=torch.float64))
    with pytest.raises(CounterpointError, match="dtype"):
        propagate(graph(), torch.zeros(USERS + ITEMS, 2))
    with pytest.raises(CounterpointError, match="has no negative"):
        sample_negatives(
            interactions(torch.zeros(2), torch.arange(2), 1, 2), torch.tensor([0]), torch.zeros(1)
        )
    with pytest.raises(CounterpointError, match=r"\[B\] or \[B, K\]"):
        sample_negatives(interactions(users, items, USERS, ITEMS), torch.arange(3), torch.zeros(2))
