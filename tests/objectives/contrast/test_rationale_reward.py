"""Rewards of rationales by a loop; the terms that cancel in the advantage, and the one that does not; extremes, invariances."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.objectives.contrast.rationale_reward import contrastive_rewards
from counterpoint.objectives.preference.advantage import group_relative


def drawn(groups: int = 3, count: int = 4, seed: int = 0) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    group = torch.arange(groups).repeat_interleave(count)
    main = torch.randn(groups * count, 5, generator=g, dtype=torch.float64)
    query, negative = (torch.randn(groups, 5, generator=g, dtype=torch.float64)[group] for _ in range(2))
    return main, query, group, negative[:, None]


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(one @ other / one.norm() / other.norm())


@pytest.mark.parametrize("cross_of", ["query", "rollout"])
def test_parts_by_a_loop(cross_of: Any) -> None:
    main, query, group, negative = drawn()
    found = contrastive_rewards(
        main,
        query,
        group,
        negatives_MND=negative,
        temperature=0.3,
        consistency=0.7,
        cross=0.4,
        cross_of=cross_of,
    )
    for m in range(len(main)):
        mine, others = [n for n in range(12) if group[n] == group[m]], [g for g in range(3) if g != group[m]]
        positive, against = cosine(query[m], main[m]), cosine(query[m], negative[m, 0])
        alike = sum(cosine(main[m], main[n]) for n in mine if n != m) / 3
        across = 0.0
        for g in others:
            rows = [n for n in range(12) if group[n] == g]
            across += (
                max(cosine(query[m], main[n]) for n in rows)
                if cross_of == "query"
                else cosine(main[m], query[rows[0]])
            )
        across /= 2
        expected = {"positive": positive, "negative": against, "consistency": alike, "cross": across}
        for name, value in expected.items():
            assert getattr(found, name)[m].item() == pytest.approx(value / 0.3), name
        assert found.total[m].item() == pytest.approx((positive - against + 0.7 * alike - 0.4 * across) / 0.3)


def test_negatives_and_the_papers_cross_term_cancel_in_the_advantage() -> None:
    main, query, group, negative = drawn()

    def advantages(**options: Any) -> torch.Tensor:
        return group_relative(contrastive_rewards(main, query, group, **options).total, 4, "none")

    bare = advantages(cross=0.0)
    torch.testing.assert_close(advantages(negatives_MND=negative, cross=0.0), bare, rtol=0, atol=1e-12)
    torch.testing.assert_close(advantages(negatives_MND=100 - negative, cross=3.0), bare, rtol=0, atol=1e-12)
    assert (advantages(cross=0.2, cross_of="rollout") - bare).abs().max() > 0.01


def test_alone_in_a_group_or_a_batch() -> None:
    main, query, group, _ = drawn(groups=1, count=3)
    for cross_of in ("query", "rollout"):
        found = contrastive_rewards(main, query, group, cross_of=cross_of)  # type: ignore[arg-type]
        assert (found.cross == 0).all()
    single = contrastive_rewards(main[:1], query[:1], group[:1])
    assert single.consistency.tolist() == [0.0]
    assert not contrastive_rewards(main[:0], query[:0], group[:0]).total.numel()


def test_scale_order_and_gradient() -> None:
    main, query, group, negative = drawn(seed=3)
    whole = contrastive_rewards(main, query, group, negatives_MND=negative).total
    large = contrastive_rewards(1e4 * main, 1e-4 * query, group, negatives_MND=1e4 * negative).total
    torch.testing.assert_close(large, whole)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    moved = contrastive_rewards(main[order], query[order], group[order], negatives_MND=negative[order]).total
    torch.testing.assert_close(moved, whole[order])
    renamed = contrastive_rewards(main, query, 10 - 3 * group, negatives_MND=negative).total
    torch.testing.assert_close(renamed, whole)
    assert not contrastive_rewards(main.requires_grad_(), query, group).total.requires_grad
    zero = contrastive_rewards(torch.zeros_like(main), query, group).total
    assert zero.isfinite().all()


def test_wrong_settings() -> None:
    main, query, group, _ = drawn()
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(CounterpointError, match="expected a number above 0"):
            contrastive_rewards(main, query, group, temperature=temperature)
    with pytest.raises(CounterpointError, match="expected 'query' or 'rollout'"):
        contrastive_rewards(main, query, group, cross_of="document")  # type: ignore[arg-type]
