"""The fused kernels against plain float64 formulas, on a GPU or in Triton's interpreter: values, gradients, extremes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.kernels import triton_path
from counterpoint.kernels.config import kernel_path
from counterpoint.kernels.similarity import (
    Rule,
    different,
    not_self,
    same,
    similarity_logsumexp,
    similarity_logsumexp_and_mean,
    similarity_logsumexp_both,
    similarity_logsumexp_views,
    where,
)
from counterpoint.kernels.vocabulary import (
    FORWARD,
    HELLINGER,
    JEFFREYS,
    REVERSE,
    TOTAL_VARIATION,
    Head,
    Kind,
    Sparse,
    amari,
    divergence,
    entropy,
    jsd,
    log_probs,
    log_probs_and_entropy,
    skewed_forward,
    skewed_reverse,
    top_entries,
)
from fused_paths import DEVICE, INTERPRETED, needs_fused

KINDS = [
    FORWARD, REVERSE, jsd(0.5), jsd(0.1), skewed_forward(0.1), skewed_reverse(0.3), TOTAL_VARIATION, JEFFREYS,
    amari(0.5), amari(1.7), amari(-0.4), amari(1e-7), amari(1 - 1e-7), HELLINGER,
]  # fmt: skip
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}
SMALL = 2**12  # bytes: several chunks, tiles and strips
Statistic = Callable[..., tuple[Tensor, ...]]

pytestmark = needs_fused


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype).to(DEVICE).requires_grad_()


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.nn.functional.normalize(draw(*shape, seed=seed).detach(), dim=-1).to(dtype).requires_grad_()


def keys(n: int, classes: int, seed: int) -> Tensor:
    return torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def close(found: Tensor, expected: Tensor, relative: float) -> None:
    assert found.shape == expected.shape
    found, expected = found.detach().double(), expected.detach().double()
    finite = expected.isfinite()
    assert torch.equal(found.isfinite(), finite)
    assert torch.equal(found[~finite], expected[~finite])
    if finite.any():
        scale = expected[finite].abs().max().clamp(min=1e-30)
        error = float((found[finite] - expected[finite]).abs().max() / scale)
        assert error <= relative, error


def agrees(statistic: Statistic, *leaves: Tensor, budget: int = SMALL) -> tuple[Tensor, ...]:
    """Check values and gradients of a function of the leaves against float64 on the plain path; return the values."""
    exact = [x.detach().double().requires_grad_() for x in leaves]
    found = []
    for path, inputs in (("plain", exact), ("triton", leaves)):
        with kernel_path(path, budget_bytes=budget):
            values = statistic(*inputs)
            learnt = [v for v in values if v.requires_grad]
            ups = [torch.linspace(-1, 2, v.numel(), device=DEVICE).view(v.shape) for v in learnt]
            total = sum(
                (torch.where(v.isfinite(), v, 0.0) * up.to(v.dtype)).sum() for v, up in zip(learnt, ups)
            )
            found.append((values, torch.autograd.grad(total, list(inputs))))
    worst = max(TOLERANCE[x.dtype] for x in leaves)
    for value, want in zip(found[1][0], found[0][0]):
        close(value, want, min(worst, 1e-5))
        assert value.dtype == (torch.float64 if worst == 1e-12 else torch.float32)
    for gradient, want, leaf in zip(found[1][1], found[0][1], leaves):
        assert gradient.dtype == leaf.dtype
        close(gradient, want, 5 * TOLERANCE[leaf.dtype])
    return found[1][0]


def head_parts(
    seed: int, dtype: torch.dtype, n: int = 3, v: int = 301, d: int = 5
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        draw(n, d, seed=seed, dtype=dtype),
        draw(v, d, seed=seed + 1, dtype=dtype),
        draw(v, seed=seed + 2, dtype=dtype),
    )


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_divergence_of_heads(kind: Kind) -> None:
    teacher = Head(draw(3, 2, seed=7).detach(), draw(301, 2, seed=8).detach())

    def statistic(h: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return (divergence(Head(h, w, b, 0.7, 9.0), teacher, kind, temperature=1.5),)

    agrees(statistic, *head_parts(0, torch.float64))


@pytest.mark.parametrize("kind", [FORWARD, jsd(0.5), amari(1.7), TOTAL_VARIATION], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_divergence_in_other_types(kind: Kind, dtype: torch.dtype) -> None:
    teacher = draw(2, 301, seed=7).detach()
    mask = torch.tensor([True, False], device=DEVICE)
    agrees(
        lambda s: (divergence(s, teacher.to(s.dtype).to(dtype).to(s.dtype), kind, mask=mask),),
        draw(2, 301, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"scale": 0.6, "softcap": 7.0}])
def test_log_probs_and_entropy_of_heads(dtype: torch.dtype, options: dict[str, float]) -> None:
    h, w, b = head_parts(3, dtype)
    w.data[5] *= 6  # one entry dominates from the first tile on, but not in the first row
    h.data[0] = 0
    ids = torch.tensor([[0, 300], [5, 5], [270, 1]], device=DEVICE)

    def tiled(h: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return log_probs_and_entropy(Head(h, w, b, **options), ids, temperature=0.9)

    def foreseen(h: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        hint = torch.ones(3, device=DEVICE)
        return log_probs_and_entropy(Head(h, w, b, **options), ids[:, 0], temperature=0.9, weights=hint)

    def spread(h: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return (entropy(Head(h, w, b, **options), temperature=0.9),)

    for statistic in (tiled, foreseen, spread):
        agrees(statistic, h, w, b)


def test_dense_log_probs_mask_sparse_teacher_and_top_entries() -> None:
    z, mask = draw(2, 2, 37), torch.tensor([[True, False], [True, True]], device=DEVICE)
    ids = torch.where(mask, 36, -100)
    probs = torch.full((2, 2, 3), 0.3, dtype=torch.float64, device=DEVICE)
    some = torch.arange(3, device=DEVICE).expand(2, 2, 3) * 7
    (values, *_) = agrees(
        lambda z: (
            *log_probs_and_entropy(z, ids, mask=mask, temperature=0.7),
            divergence(z, Sparse(some, probs), mask=mask),
            entropy(z, mask=mask),
        ),
        z,
    )
    assert values[0, 1].item() == 0
    with kernel_path("triton", budget_bytes=SMALL):
        assert torch.equal(top_entries(z, 2), z.topk(2, -1).indices)


def test_one_position_one_entry_and_no_position() -> None:
    one, ids = head_parts(2, torch.float64, n=1), torch.tensor([300], device=DEVICE)
    agrees(
        lambda h, w, b: (log_probs(Head(h, w, b), ids), divergence(Head(h, w, b), Head(-h, w, b), "reverse")),
        *one,
    )
    with kernel_path("triton", budget_bytes=SMALL):
        assert divergence(draw(2, 1), draw(2, 1, seed=1)).tolist() == [0.0, 0.0]
        h, w, b = head_parts(2, torch.float64)
        nowhere = torch.zeros(3, dtype=torch.bool, device=DEVICE)
        for value in (
            divergence(Head(h, w, b), Head(-h, w, b), mask=nowhere),
            log_probs(Head(h, w, b), torch.full((3,), -100, device=DEVICE), mask=nowhere),
            entropy(Head(h, w, b), mask=nowhere),
        ):
            assert value.tolist() == [0.0, 0.0, 0.0]
            assert all((g == 0).all() for g in torch.autograd.grad(value.sum(), (h, w, b)))


def test_gradients_where_the_factors_differ_from_the_foreseen_ones() -> None:
    h, w, b = head_parts(5, torch.float64)
    teacher = draw(3, 301, seed=9).detach()
    hint = torch.tensor([1.0, 5.0, 0.0], device=DEVICE)
    ids = torch.tensor([4, 4, 300], device=DEVICE)
    agrees(lambda h, w, b: (divergence(Head(h, w, b), teacher, jsd(0.3), weights=hint),), h, w, b)
    agrees(lambda h, w, b: (log_probs(Head(h, w, b), ids, weights=hint),), h, w, b)
    agrees(lambda h: (log_probs(Head(h, w.detach()), ids),), h)  # a frozen head


def test_zero_probabilities_count_for_nothing() -> None:
    s = torch.tensor([[1.0, 2.0, -math.inf, 0.0]], dtype=torch.float64, device=DEVICE)
    t = torch.tensor([[1.0, 2.0, -math.inf, -math.inf]], dtype=torch.float64, device=DEVICE)
    for kind in KINDS:
        for student, teacher in ((s, t), (t, s), (t, t)):
            leaf = student.clone().requires_grad_()
            found = []
            for path in ("plain", "triton"):
                with kernel_path(path, budget_bytes=SMALL):
                    value = divergence(leaf, teacher, kind)
                    found.append((value, *torch.autograd.grad(value.sum(), leaf)))
            torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-12, atol=1e-15)
            if found[0][0].isfinite().all():
                torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-12, atol=1e-15)
    with kernel_path("triton", budget_bytes=SMALL):
        assert log_probs(s, torch.tensor([3], device=DEVICE)).isfinite().all()
        assert entropy(s).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_logits_of_ten_thousand(dtype: torch.dtype) -> None:
    s, t = (1e4 * draw(2, 64, seed=i, dtype=dtype).detach() for i in (1, 2))
    s.requires_grad_()
    ids = torch.tensor([0, 63], device=DEVICE)
    for kind in (FORWARD, REVERSE, jsd(0.5), skewed_forward(0.1), skewed_reverse(0.1), TOTAL_VARIATION):
        found = []
        for path in ("plain", "triton"):
            with kernel_path(path, budget_bytes=SMALL):
                value = divergence(s, t, kind) + log_probs(s, ids) + entropy(s)
                found.append((value, torch.autograd.grad(value.sum(), s)[0]))
        # Saturated gradients are differences of numbers of the logits' size: rounding is measured against that.
        for got, want in zip(found[1], found[0]):
            assert got.isfinite().all()
            torch.testing.assert_close(got, want, rtol=1e-6, atol=1e5 * torch.finfo(dtype).eps)


N, M, D = 19, 37, 5
RULES: dict[str, Callable[[], list[Rule]]] = {
    "all": lambda: [],
    "classes": lambda: [different(keys(N, 3, 1), keys(M, 3, 2))],
    "two": lambda: [different(keys(N, 4, 1), keys(M, 4, 2)), same(keys(N, 2, 5).double(), keys(M, 2, 6).double())],
    "tables": lambda: [
        where(torch.rand(N, M, generator=torch.Generator().manual_seed(s)).to(DEVICE) < 0.6) for s in (1, 2)
    ],
    "nothing": lambda: [different(torch.zeros(N).long().to(DEVICE), torch.zeros(M).long().to(DEVICE))],
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_rows_against_columns(rule: str) -> None:
    include = RULES[rule]()
    rows, column_weights = torch.linspace(1, 90, N, dtype=torch.float64).to(DEVICE), draw(M, seed=3)
    agrees(
        lambda a, b, s, w: similarity_logsumexp_and_mean(a, b, scale=s, include=include, log_weights=w),
        unit(N, D), unit(M, D, seed=1), rows.requires_grad_(), column_weights,
    )  # fmt: skip
    scale = torch.tensor(5.0, dtype=torch.float64, device=DEVICE, requires_grad=True)
    agrees(
        lambda a, b, s: similarity_logsumexp_both(a, b, scale=s, include=include),
        unit(N, D), unit(M, D, seed=1), scale,
    )  # fmt: skip


def test_rows_against_themselves_views_mask_and_pair_weights() -> None:
    z, labels = unit(N, D), keys(N, 3, 1)
    scale = torch.tensor(200.0, dtype=torch.float64, device=DEVICE, requires_grad=True)
    for include in ([not_self(N)], [same(labels), not_self(N)], [different(labels)]):
        agrees(lambda z, s: (similarity_logsumexp(z, scale=s, include=include),), z, scale)
    agrees(lambda z: (similarity_logsumexp_views(z, 3, scale=7.0, include=[not_self(18)]),), unit(18, D))
    mask, pairs = torch.arange(N, device=DEVICE) % 3 != 1, draw(N, N, seed=4).detach()
    value, mean = agrees(
        lambda z: similarity_logsumexp_and_mean(
            z, scale=3.0, include=[not_self(N)], mask=mask, log_weights=pairs.to(z.dtype)
        ),
        z,
    )
    assert (value[~mask] == 0).all()
    assert (mean[~mask] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [3.0, 200.0])
def test_similarity_in_other_types(dtype: torch.dtype, scale: float) -> None:
    a, b = unit(N, D, dtype=dtype), unit(M, D, seed=1, dtype=dtype)
    agrees(lambda a, b: (similarity_logsumexp(a, b, scale=scale),), a, b)
    agrees(lambda a, b: similarity_logsumexp_both(a, b, scale=scale), a, b)
    agrees(lambda a: (similarity_logsumexp(a, scale=scale, include=[not_self(N)]),), a)


def test_similarity_extremes() -> None:
    with kernel_path("triton", budget_bytes=SMALL):
        one = unit(1, D)
        alone = similarity_logsumexp(one, include=[not_self(1)])
        assert alone.item() == -math.inf
        assert (torch.autograd.grad(torch.where(alone.isfinite(), alone, 0.0).sum(), one)[0] == 0).all()
        assert similarity_logsumexp(unit(0, D), one).shape == (0,)
        assert (similarity_logsumexp(one, unit(0, D)) == -math.inf).all()
        rows, columns = similarity_logsumexp_both(one, unit(0, D))
        assert rows.item() == -math.inf
        assert columns.shape == (0,)
        huge = (unit(5, D) * 100).detach().float().requires_grad_()
        value = similarity_logsumexp(huge, include=[not_self(5)])
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), huge)[0].isfinite().all()
        nobody = similarity_logsumexp(huge, mask=torch.zeros(5, dtype=torch.bool, device=DEVICE))
        assert (torch.autograd.grad(nobody.sum(), huge)[0] == 0).all()
    agrees(
        lambda a, b: (similarity_logsumexp(a, b, scale=2.0),), unit(3, 300), unit(4, 300, seed=1)
    )  # too wide


def test_second_backward() -> None:
    a, b = unit(N, D), unit(M, D, seed=1)
    h, w, bias = head_parts(1, torch.float64)
    with kernel_path("triton", budget_bytes=SMALL):
        for value, leaf in (
            (similarity_logsumexp(a, b).mean(), b),
            (similarity_logsumexp(a, include=[not_self(N)]).mean(), a),
            (log_probs(Head(h, w, bias), torch.tensor([0, 1, 2], device=DEVICE)).mean(), w),
            (divergence(Head(h, w, bias), h.detach() @ w.detach().T * 0.5).mean(), w),
        ):
            (first,) = torch.autograd.grad(value, leaf, retain_graph=True)
            (second,) = torch.autograd.grad(2 * value, leaf)
            close(second, 2 * first, 1e-12)


def test_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    with kernel_path("auto"):
        assert triton_path.fused(gpu)
        assert not triton_path.fused(cpu)
    for path in ("plain", "stream"):
        with kernel_path(path):
            assert not triton_path.fused(gpu)
    with kernel_path("triton"):
        assert triton_path.fused(gpu)
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        with pytest.raises(CounterpointError, match="TRITON_INTERPRET=1"):
            similarity_logsumexp(torch.zeros(2, 3))
        monkeypatch.setattr(triton_path, "installed", lambda: False)
        with pytest.raises(MissingExtra, match=r"counterpoint\[gpu\]"):
            triton_path.fused(gpu)
    with kernel_path("auto"):
        assert not triton_path.fused(gpu)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_gpus(capability: int) -> None:
    script = Path(__file__).with_name("gpu_compilation.py")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(capability)],
        env=environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    compiled = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["kernel"] for row in compiled} == {
        "row_sums", "weighted_products", "fold_rows", "softmax_gradient", "divergence_rows",
    }  # fmt: skip
    assert (
        max(row["shared"] for row in compiled) <= 99 * 2**10
    )  # what the smallest GPUs in use give one program


@pytest.mark.skipif(not INTERPRETED, reason="the interpreter is not in use")
def test_environment_forces_the_path() -> None:
    code = (
        "import torch; from counterpoint.kernels.similarity import similarity_logsumexp as f; import sys; "
        "print(f(torch.eye(3)).shape, 'triton' in sys.modules)"
    )
    environment = os.environ | {"COUNTERPOINT_KERNELS": "triton", "TRITON_INTERPRET": "1"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True
    )
    assert out.stdout.strip() == "torch.Size([3]) True"
