"""Similarity statistics: a naive loop, the plain path and the streaming path agree, values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import kernel_path
from counterpoint.kernels.similarity import (
    Rule,
    different,
    key_mean_similarity,
    not_self,
    same,
    similarity_logsumexp,
    similarity_logsumexp_and_mean,
    similarity_logsumexp_both,
    similarity_logsumexp_views,
    where,
)
from fused_paths import PATHS_ON_CPU, fused_on_cpu

N, M, D = 13, 11, 4
TINY, SMALL, LARGE = 1024, 6_000, 2**26
# A scale of 200 needs the shifted form (exponentials of 200 overflow float32), 3 does not.
SCALES = [3.0, 200.0]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.nn.functional.normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=-1)
        .to(dtype)
        .requires_grad_()
    )


def keys(n: int, classes: int, seed: int) -> Tensor:
    return torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor, relative: float) -> None:
    found, expected = found.detach().double(), expected.detach().double()
    finite = expected.isfinite()
    assert torch.equal(found.isfinite(), finite)
    assert torch.equal(found[~finite], expected[~finite])
    if finite.any():
        scale = expected[finite].abs().max().clamp(min=1e-30)
        assert float((found[finite] - expected[finite]).abs().max() / scale) <= relative


def both_paths(
    statistic: Callable[[], tuple[Tensor, ...]], leaves: list[Tensor], budget: int
) -> list[list[Tensor]]:
    found = []
    # The fused kernels hardly look at the budget: once under the interpreter is enough.
    for path in PATHS_ON_CPU if budget < LARGE else ("plain", "stream"):
        with kernel_path(path, budget_bytes=budget):
            values = statistic()
            total = sum(
                (torch.where(v.isfinite(), v, 0.0) * torch.linspace(-1, 2, len(v), dtype=v.dtype)).sum()
                for v in values
                if v.requires_grad
            )
            found.append([*values, *torch.autograd.grad(total, leaves)])
    for fused in found[2:]:
        for p, q in zip(found[0], fused):
            close(q, p, 1e-12)
    return found[:2]


RULES: dict[str, Callable[[], list[Rule]]] = {
    "all": lambda: [],
    "classes": lambda: [different(keys(N, 3, 1), keys(M, 3, 2))],
    "positives": lambda: [same(keys(N, 3, 1), keys(M, 3, 2))],
    "table": lambda: [where(torch.rand(N, M, generator=torch.Generator().manual_seed(3)) < 0.4)],
    "two": lambda: [different(keys(N, 4, 1), keys(M, 4, 2)), same(keys(N, 2, 5), keys(M, 2, 6))],
    "one row empty": lambda: [different(torch.zeros(N, dtype=torch.long), torch.zeros(M, dtype=torch.long))],
}


@pytest.mark.parametrize("budget", [TINY, LARGE])
@pytest.mark.parametrize("scale", [*SCALES, "tensor", "rows"])
@pytest.mark.parametrize("rule", RULES)
def test_one_way_equals_plain(rule: str, scale: float | str, budget: int) -> None:
    a, b = draw(N, D), draw(M, D, seed=1)
    leaves = [a, b]
    s: float | Tensor
    if isinstance(scale, str):
        s = (
            torch.tensor(5.0, dtype=torch.float64)
            if scale == "tensor"
            else torch.linspace(1, 90, N, dtype=torch.float64)
        )
        leaves.append(s.requires_grad_())
    else:
        s = scale
    plain, stream = both_paths(
        lambda: (similarity_logsumexp(a, b, scale=s, include=RULES[rule]()),), leaves, budget
    )
    for p, q in zip(plain, stream):
        close(q, p, 1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_plain_equals_a_naive_loop(scale: float) -> None:
    a, b, table = (
        draw(N, D),
        draw(M, D, seed=1),
        torch.rand(N, M, generator=torch.Generator().manual_seed(3)) < 0.4,
    )
    extra = torch.randn(N, M, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    value = similarity_logsumexp(a, b, scale=scale, include=[where(table)], log_weights=extra)
    for i in range(N):
        terms = [
            scale * float(a[i].detach() @ b[j].detach()) + float(extra[i, j]) for j in range(M) if table[i, j]
        ]
        want = -math.inf if not terms else max(terms) + math.log(sum(math.exp(t - max(terms)) for t in terms))
        assert float(value[i].detach()) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("weights", [None, "ones", "right", "wrong"])
@pytest.mark.parametrize("upstream", ["uniform", "varied", "clipped"])
def test_foreseen_weights_never_change_a_result(weights: str | None, upstream: str) -> None:
    a, b, bias = draw(N, D), draw(M, D, seed=1), draw(M, seed=2)
    up = {
        "uniform": torch.full((N,), 0.3),
        "varied": torch.linspace(-1, 2, N),
        "clipped": (torch.arange(N) % 4 > 0) * 0.2,
    }
    g = up[upstream].double()
    hint = {None: None, "ones": torch.ones(N), "right": g * 7, "wrong": torch.arange(N).double()}[weights]
    found = []
    for path in ("plain", "stream"):
        with kernel_path(path, budget_bytes=SMALL):
            value = similarity_logsumexp(a, b, scale=5.0, log_weights=bias, weights=hint)
            found.append(torch.autograd.grad(value, [a, b, bias], g))
    for p, q in zip(*found):
        close(q, p, 1e-12)


@pytest.mark.parametrize("budget", [TINY, SMALL, LARGE])
@pytest.mark.parametrize("scale", [*SCALES, "tensor"])
@pytest.mark.parametrize("rule", ["all", "not_self", "labels", "labels and self", "instances"])
def test_rows_against_themselves(rule: str, scale: float | str, budget: int) -> None:
    z = draw(N, D)
    labels = keys(N, 3, 1)
    include = {
        "all": [],
        "not_self": [not_self(N)],
        "labels": [different(labels)],
        "labels and self": [same(labels), different(torch.arange(N))],
        "instances": [different(torch.arange(N) % 5)],
    }[rule]
    s = torch.tensor(5.0, dtype=torch.float64, requires_grad=True) if isinstance(scale, str) else scale
    leaves = [z, s] if isinstance(s, Tensor) else [z]
    plain, stream = both_paths(lambda: (similarity_logsumexp(z, scale=s, include=include),), leaves, budget)
    for p, q in zip(plain, stream):
        close(q, p, 1e-12)


@pytest.mark.parametrize("budget", [TINY, SMALL, LARGE])
@pytest.mark.parametrize("scale", [*SCALES, "tensor"])
@pytest.mark.parametrize("rule", ["all", "classes", "one row empty"])
def test_rows_and_columns(rule: str, scale: float | str, budget: int) -> None:
    a, b = draw(N, D), draw(M, D, seed=1)
    s = torch.tensor(5.0, dtype=torch.float64, requires_grad=True) if isinstance(scale, str) else scale
    leaves = [a, b, s] if isinstance(s, Tensor) else [a, b]
    plain, stream = both_paths(
        lambda: similarity_logsumexp_both(a, b, scale=s, include=RULES[rule]()), leaves, budget
    )
    for p, q in zip(plain, stream):
        close(q, p, 1e-12)


def test_views_mean_and_mask() -> None:
    z, mask = draw(12, D), torch.arange(12) % 3 != 1
    scale = torch.linspace(1, 30, 12, dtype=torch.float64, requires_grad=True)
    extra = draw(12, seed=4)
    plain, stream = both_paths(
        lambda: (similarity_logsumexp_views(z, 4, scale=7.0, include=[not_self(12)]),), [z], SMALL
    )
    assert plain[0].shape == (3,)
    for p, q in zip(plain, stream):
        close(q, p, 1e-12)
    plain, stream = both_paths(
        lambda: similarity_logsumexp_and_mean(
            z, scale=scale, include=[different(torch.arange(12) % 6)], log_weights=extra, mask=mask
        ),
        [z, scale, extra],
        SMALL,
    )
    assert (stream[0][~mask] == 0).all()
    assert (stream[1][~mask] == 0).all()
    for p, q in zip(plain, stream):
        close(q, p, 1e-12)


@pytest.mark.parametrize(
    "path", ["stream", pytest.param("triton", marks=[*fused_on_cpu.marks, pytest.mark.slow])]
)
def test_gradcheck(path: str) -> None:
    a, b, z = draw(4, 3), draw(5, 3, seed=1), draw(5, 3, seed=2)
    s, rows = (
        torch.tensor(2.0, dtype=torch.float64, requires_grad=True),
        torch.linspace(1, 3, 4, dtype=torch.float64, requires_grad=True),
    )
    bias = draw(5, seed=3)
    check = torch.autograd.gradcheck
    with kernel_path(path, budget_bytes=TINY):
        assert check(
            lambda a, b, r, w: similarity_logsumexp(a, b, scale=r, log_weights=w), (a, b, rows, bias)
        )
        assert check(lambda a, b, s: similarity_logsumexp_both(a, b, scale=s), (a, b, s))
        assert check(lambda z, s: similarity_logsumexp(z, scale=s, include=[not_self(5)]), (z, s))
        assert check(
            lambda z: similarity_logsumexp(z, scale=700.0 / 3, include=[not_self(5)]),
            (z,),
            eps=1e-7,
            atol=1e-4,
        )


@pytest.mark.parametrize("scale", SCALES)
def test_float32_against_float64_and_budget(scale: float) -> None:
    a, b = draw(300, 16), draw(257, 16, seed=1)
    with kernel_path("plain"):
        exact = [similarity_logsumexp(a, b, scale=scale), *similarity_logsumexp_both(a, b, scale=scale)]
        exact.append(similarity_logsumexp(a, scale=scale, include=[not_self(300)]))
        exact += list(torch.autograd.grad(sum(v.mean() for v in exact), [a, b]))
    a32, b32 = (x.detach().float().requires_grad_() for x in (a, b))
    for budget in (TINY, 100_000, LARGE):
        with kernel_path("stream", budget_bytes=budget):
            got = [
                similarity_logsumexp(a32, b32, scale=scale),
                *similarity_logsumexp_both(a32, b32, scale=scale),
            ]
            got.append(similarity_logsumexp(a32, scale=scale, include=[not_self(300)]))
            got += list(torch.autograd.grad(sum(v.mean() for v in got), [a32, b32]))
        for p, q in zip(exact, got):
            close(q, p, 1e-6 if scale < 100 else 1e-5)


def test_half_precision_is_widened() -> None:
    a = draw(9, 8).detach().bfloat16().requires_grad_()
    for path in PATHS_ON_CPU:
        with kernel_path(path, budget_bytes=TINY), torch.autocast("cpu", dtype=torch.bfloat16):
            value = similarity_logsumexp(a, scale=10.0, include=[not_self(9)])
            (grad,) = torch.autograd.grad(value.sum(), a)
        assert value.dtype == torch.float32
        assert grad.dtype == torch.bfloat16
        close(value, similarity_logsumexp(a.double(), scale=10.0, include=[not_self(9)]), 1e-6)


@pytest.mark.parametrize("path", ["plain", "stream", fused_on_cpu])
def test_extremes(path: str) -> None:
    with kernel_path(path, budget_bytes=TINY):
        one = draw(1, D)
        alone = similarity_logsumexp(one, include=[not_self(1)])
        assert alone.item() == -math.inf
        assert (torch.autograd.grad(torch.where(alone.isfinite(), alone, 0.0).sum(), one)[0] == 0).all()
        assert similarity_logsumexp(draw(0, D), one).shape == (0,)
        assert (similarity_logsumexp(one, draw(0, D)) == -math.inf).all()
        huge = (draw(5, D) * 100).detach().float().requires_grad_()
        value = similarity_logsumexp(huge, include=[not_self(5)])
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), huge)[0].isfinite().all()
        nobody = similarity_logsumexp(huge, mask=torch.zeros(5, dtype=torch.bool))
        assert (nobody == 0).all()
        assert (torch.autograd.grad(nobody.sum(), huge)[0] == 0).all()


def test_key_means_equal_a_loop() -> None:
    a, labels = draw(N, D), keys(N, 5, 1)
    mean, count = key_mean_similarity(a, labels, exclude_self=True)
    for i in range(N):
        others = [j for j in range(N) if j != i and labels[j] == labels[i]]
        assert count[i] == len(others)
        want = sum(float((a[i] @ a[j]).detach()) for j in others) / max(len(others), 1)
        assert float(mean[i].detach()) == pytest.approx(want, abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: key_mean_similarity(x, labels, exclude_self=True)[0], (a,))


def test_errors_teach() -> None:
    a = torch.zeros(3, 2)
    with pytest.raises(CounterpointError, match=r"\[N, D\]"):
        similarity_logsumexp(a, torch.zeros(3, 4))
    with pytest.raises(CounterpointError, match="one key per row"):
        similarity_logsumexp(a, include=[not_self(4)])
    with pytest.raises(CounterpointError, match="share one table"):
        similarity_logsumexp_both(a, a, scale=torch.ones(3))
    with pytest.raises(CounterpointError, match="log_weights"):
        similarity_logsumexp(a, log_weights=torch.zeros(5))
    with pytest.raises(CounterpointError, match="view-major"):
        similarity_logsumexp_views(a, 2)
    with pytest.raises(CounterpointError, match="one key each"):
        key_mean_similarity(a, torch.zeros(2))


@pytest.mark.parametrize("frozen", ["neither", "rows", "columns"])
def test_a_second_backward_through_one_graph_gives_the_same_gradients(frozen: str) -> None:
    a, b = (torch.randn(n, 5, dtype=torch.float64) for n in (23, 31))
    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    leaves = [x.requires_grad_() for name, x in (("rows", a), ("columns", b)) if name != frozen]
    with kernel_path("stream", budget_bytes=TINY):
        value = similarity_logsumexp(a, b, scale=scale)
        factors = torch.linspace(-1, 2, 23, dtype=torch.float64)
        first = torch.autograd.grad((value * factors).sum(), [*leaves, scale], retain_graph=True)
        second = torch.autograd.grad((value * factors).sum(), [*leaves, scale], retain_graph=True)
        third = torch.autograd.grad((3 * value * factors).sum(), [*leaves, scale])
    plain = (scale * a @ b.T).logsumexp(1)
    expected = torch.autograd.grad((plain * factors).sum(), [*leaves, scale])
    for wanted, *found, tripled in zip(expected, first, second, third, strict=True):
        for one in found:
            torch.testing.assert_close(one, wanted, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(tripled, 3 * wanted, rtol=1e-10, atol=1e-12)
