"""The module of every objective: its value and gradients are the objective's own, reduced."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.integrations.catalog import OBJECTIVES, function_of
from counterpoint.integrations.modules import objective
from counterpoint.objectives.contrast.global_contrast import descend, robust_pairs, robust_views
from counterpoint.objectives.contrast.infonce import info_nce
from counterpoint.objectives.contrast.neighbours import nearest_neighbours, nnclr
from counterpoint.objectives.reduction import Loss
from objective_inputs import LABELS, MASK, OWN, SETTINGS, D, N, of_form, rows

HELD = ("proxies", "remembered", "neighbours")
PLAIN = [name for name, (_, form) in OBJECTIVES.items() if form not in HELD]


def leaves(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        if values.requires_grad:
            yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from leaves(value)
    elif hasattr(values, "__dataclass_fields__"):
        yield from leaves(list(vars(values).values()))


def mean_of(result: Any, mask: Tensor | None = None) -> Tensor:
    """By hand: sums over counts, terms added."""
    if isinstance(result, dict):
        return sum((mean_of(each) for each in result.values()), torch.tensor(0.0))
    if isinstance(result, tuple):
        return sum((mean_of(each) for each in result), torch.tensor(0.0))
    if isinstance(result, Loss):
        count = len(result.values) if result.counts is None else max(float(result.counts.sum()), 1.0)
        return result.weight * result.values.sum() / count
    if mask is not None:
        return torch.where(mask.bool(), result, 0.0).sum() / mask.sum()
    return result.sum() / result.numel()


@pytest.mark.parametrize("name", PLAIN)
def test_a_module_is_its_objective(name: str) -> None:
    form = OBJECTIVES[name][1]
    settings = SETTINGS.get(name, {})
    masks = {"mask": MASK} if form in ("tokens", "divergence") else {}
    inputs, again = (OWN[name]() if name in OWN else of_form(form) for _ in range(2))
    value = objective(name, **settings)(*inputs, **masks)
    first = [settings["name"]] if "name" in settings else []
    rest = {key: each for key, each in settings.items() if key != "name"}
    taken = [MASK] if name in ("token_losses", "towards_teacher") else []
    expected = mean_of(function_of(name)(*first, *again, *taken, **rest), MASK if masks else None)
    assert value.dim() == 0
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12, check_dtype=False)
    ours, theirs = list(leaves(inputs)), list(leaves(again))
    assert ours
    gradients = zip(
        torch.autograd.grad(value, ours, allow_unused=True),
        torch.autograd.grad(expected, theirs, allow_unused=True),
        strict=True,
    )
    used = 0
    for mine, wanted in gradients:
        assert (mine is None) == (wanted is None)
        if mine is not None:
            used += 1
            torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=1e-12)
    assert used


def test_hard_negatives_are_keys_of_no_query() -> None:
    queries, keys, hard = rows(1), rows(2), rows(3, 2, D)
    value = objective("info_nce", temperature=0.1)(queries, keys, hard)
    expected = info_nce(queries, torch.cat([keys, hard]), temperature=0.1).mean()
    torch.testing.assert_close(value, expected)
    assert value > objective("info_nce", temperature=0.1)(queries, keys)


@pytest.mark.parametrize("name", ["normalized_softmax", "proxy_nca", "proxy_anchor", "soft_triple"])
def test_proxies_are_learnt(name: str) -> None:
    more = {"centers": 2} if name == "soft_triple" else {}
    torch.manual_seed(0)
    loss = objective(name, num_classes=3, dimension=D, **more).double()
    (proxies,) = loss.parameters()
    assert "proxies" in loss.state_dict()
    value = loss(rows(1), LABELS)
    expected = mean_of(function_of(name)(rows(1), LABELS, proxies))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    step = torch.optim.SGD(loss.parameters(), lr=0.1)
    value.backward()
    step.step()
    assert loss(rows(1), LABELS) < value


def test_temperatures_per_row_move_and_are_saved() -> None:
    loss = objective("robust_views", num_rows=10, temperature=0.3, rho=0.2).double()
    first, second, index = rows(1), rows(2), torch.tensor([9, 1, 2, 3, 4, 5])
    start, never = torch.full((N,), 0.3).double(), torch.full((N,), -math.inf).double()
    expected = robust_views(first, second, start, never, rho=0.2, fresh=torch.ones(N, dtype=torch.bool))
    torch.testing.assert_close(loss(first, second, index), expected.values.mean())
    moved, momentum = descend(start, torch.zeros_like(start), expected.temperature_gradient, clip=3.0)
    state = loss.state_dict()
    torch.testing.assert_close(state["temperature"][0, index], moved)
    torch.testing.assert_close(state["momentum"][0, index], momentum)
    torch.testing.assert_close(state["log_average"][0, index], expected.log_average)
    assert state["log_average"][0, 0] == -math.inf
    again = robust_views(first, second, moved, expected.log_average, rho=0.2)
    torch.testing.assert_close(loss(first, second, index), again.values.mean())
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    loss.eval()(first, second, index)
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())


def test_pairs_have_temperatures_on_both_sides() -> None:
    loss = objective("robust_pairs", num_rows=N, step=0.0).double()
    first, second, index = rows(1), rows(2), torch.arange(N)
    start, never = torch.full((N,), 0.1).double(), torch.full((N,), -math.inf).double()
    fresh = torch.ones(N, dtype=torch.bool)
    both = [
        robust_pairs(a, b, start, never, fresh=fresh).values.mean()
        for a, b in ((first, second), (second, first))
    ]
    torch.testing.assert_close(loss(first, second, index), both[0] + both[1])
    assert bool(
        (loss.get_buffer("temperature") == loss.get_buffer("temperature")[0, 0]).all()
    )  # SogCLR leaves them
    assert bool((loss.get_buffer("log_average") > -math.inf).all())


def test_a_queue_of_neighbours_fills_and_turns() -> None:
    loss = objective("nnclr", queue=8, dimension=D, temperature=0.2).double()
    inputs = of_form("neighbours")
    first, second, *predictions = inputs
    own = torch.cat([first, second]).detach()
    near = tuple(nearest_neighbours(each, own) for each in (first, second))
    torch.testing.assert_close(loss(*inputs), nnclr(near, tuple(predictions), temperature=0.2).mean())
    bank = loss.get_buffer("bank")
    torch.testing.assert_close(bank[:N], first.detach())
    near = tuple(nearest_neighbours(each, bank[:N].clone()) for each in (second, first))
    torch.testing.assert_close(
        loss(second, first, *predictions), nnclr(near, tuple(predictions), temperature=0.2).mean()
    )
    torch.testing.assert_close(bank[6:], second.detach()[:2])
    torch.testing.assert_close(bank[:4], second.detach()[2:])


def test_settings_are_checked_when_it_is_made() -> None:
    with pytest.raises(CounterpointError, match="has no setting 'temprature'; did you mean 'temperature'"):
        objective("nt_xent", temprature=0.1)
    with pytest.raises(CounterpointError, match="soft_triple has several"):
        objective("proxy_anchor", num_classes=3, dimension=D, centers=2)
    assert "temperature=0.2" in repr(objective("nt_xent", temperature=0.2))
