"""Alignment, uniformity and effective rank against loops over pairs and closed forms."""

import math

import pytest
import torch

from counterpoint.evaluation.geometry import alignment, effective_rank, uniformity


def rows(number=23, width=5):
    return torch.randn(number, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def unit(row):
    return row / row.square().sum().sqrt()


def test_alignment_and_uniformity_are_their_loops():
    first, second = rows(), rows(23).flip(0)
    pairs = [(unit(a) - unit(b)).square().sum() for a, b in zip(first, second)]
    assert alignment(first, second) == pytest.approx(float(sum(pairs) / len(pairs)))
    distinct = [
        torch.exp(-2 * (unit(first[i]) - unit(first[j])).square().sum())
        for i in range(23)
        for j in range(23)
        if i != j
    ]
    for piece in (1, 7, 1024):
        assert uniformity(first, piece=piece) == pytest.approx(math.log(float(sum(distinct) / len(distinct))))


def test_scale_and_order_do_not_matter():
    first = rows()
    order = torch.randperm(23, generator=torch.Generator().manual_seed(2))
    stretched = first * torch.rand(
        23, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    ).add(0.1)
    for measure in (uniformity, effective_rank):
        assert measure(stretched[order]) == pytest.approx(measure(first))


def test_effective_rank_is_its_singular_values():
    first = torch.nn.functional.normalize(rows(), dim=1)
    power = torch.linalg.svdvals(first - first.mean(0)).square()
    share = power / power.sum()
    assert effective_rank(first) == pytest.approx(math.exp(float(-(share * share.log()).sum())))


def test_extremes():
    assert effective_rank(torch.ones(4, 3)) == 0.0
    assert effective_rank(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(1.0)
    assert math.isnan(uniformity(torch.ones(1, 3)))
