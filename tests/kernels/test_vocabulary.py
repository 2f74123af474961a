"""Streaming vocabulary statistics against the plain float64 path, values and gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import kernel_path
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
    dense,
    divergence,
    entropy,
    jsd,
    log_probs,
    log_probs_and_entropy,
    log_probs_and_peak,
    skewed_forward,
    skewed_reverse,
    top_entries,
)
from fused_paths import PATHS_ON_CPU, fused_on_cpu

KINDS = [
    FORWARD, REVERSE, jsd(0.5), jsd(0.1), skewed_forward(0.1), skewed_reverse(0.3), TOTAL_VARIATION, JEFFREYS,
    amari(0.5), amari(1.7), amari(-0.4), amari(1e-7), amari(1 - 1e-7), HELLINGER,
]  # fmt: skip
SMALL = 1024  # bytes: one position per chunk
N, V, D = 7, 331, 5  # 331 columns make two cache tiles of at least 256


def head(
    seed: int, dtype: torch.dtype = torch.float64, n: int = N, v: int = V, d: int = D, **options: float
) -> Head:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_()

    return Head(draw(n, d), draw(v, d), draw(v), **options)


def like(h: Head, dtype: torch.dtype) -> Head:
    parts = [x.detach().to(dtype).requires_grad_() for x in (h.hidden, h.weight, h.bias)]
    return Head(*parts, h.scale, h.softcap)


def gradients(value: Tensor, upstream: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, leaves, upstream)


def close(found: Tensor, expected: Tensor, relative: float) -> None:
    """Largest error relative to the largest entry: sums in another order differ where entries cancel."""
    assert found.shape == expected.shape
    found, expected = found.detach(), expected.detach()
    scale = expected.abs().max().clamp(min=1e-30)
    error = float((found.double() - expected.double()).abs().max() / scale)
    assert error <= relative, error


UPSTREAMS = {
    "uniform": lambda n: torch.full((n,), 1 / n, dtype=torch.float64),
    "varied": lambda n: torch.linspace(-1, 2, n, dtype=torch.float64),
    "clipped": lambda n: torch.tensor([0.0 if i % 3 == 0 else 0.5 for i in range(n)], dtype=torch.float64),
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_divergence_of_heads_equals_plain(kind: Kind, upstream: str) -> None:
    s, t = head(0, scale=0.7, softcap=9.0), head(1, d=3)
    g = UPSTREAMS[upstream](N)
    with kernel_path("plain"):
        want = divergence(s, t, kind, temperature=1.5)
        want_grads = gradients(want, g, s.hidden, s.weight, s.bias)
    for path, dtype, relative, budget in [
        ("stream", torch.float64, 1e-12, SMALL),
        ("stream", torch.float64, 1e-12, 2**26),
        ("stream", torch.float32, 2e-6, 2**14),
        ("triton", torch.float32, 2e-6, 2**14),
    ]:
        if path not in PATHS_ON_CPU or (path == "triton" and upstream == "uniform"):
            continue
        s2, t2 = like(s, dtype), like(t, dtype)
        with kernel_path(path, budget_bytes=budget):
            got = divergence(s2, t2, kind, temperature=1.5)
            got_grads = gradients(got, g.to(dtype), s2.hidden, s2.weight, s2.bias)
        close(got, want, relative)
        for a, b in zip(got_grads, want_grads):
            close(a, b, relative * 5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_divergence_of_dense_logits_equals_plain(kind: Kind) -> None:
    g = torch.Generator().manual_seed(2)
    s, t = (torch.randn(2, 3, V, generator=g, dtype=torch.float64) * 3 for _ in range(2))
    s.requires_grad_()
    mask = torch.tensor([[True, False, True], [False, True, True]])
    up = torch.randn(2, 3, generator=g, dtype=torch.float64)
    results = []
    for path in PATHS_ON_CPU:
        with kernel_path(path, budget_bytes=SMALL):
            d = divergence(s, t, kind, temperature=0.7, mask=mask)
            results.append((d, *gradients(d, up, s)))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            close(b, a, 1e-12)
        assert (other[0][~mask] == 0).all()
        assert (other[1][~mask] == 0).all()


@pytest.mark.parametrize("kind", [FORWARD, REVERSE, jsd(0.3), skewed_reverse(0.2), TOTAL_VARIATION], ids=str)
def test_gradcheck(kind: Kind) -> None:
    s, t = head(3, n=3, v=11, d=2, scale=0.5, softcap=4.0), head(4, n=3, v=11)
    with kernel_path("stream", budget_bytes=SMALL):
        assert torch.autograd.gradcheck(
            lambda h, w, b: divergence(Head(h, w, b, s.scale, s.softcap), t, kind, temperature=1.3),
            (s.hidden, s.weight, s.bias),
        )


def test_gradcheck_of_log_probs_and_entropy() -> None:
    s, ids = head(5, n=3, v=11, d=2), torch.tensor([[0, 10], [3, 3], [7, 1]])
    inputs = (s.hidden, s.weight, s.bias)
    with kernel_path("stream", budget_bytes=SMALL):
        assert torch.autograd.gradcheck(
            lambda h, w, b: log_probs(Head(h, w, b), ids, temperature=0.8), inputs
        )
        assert torch.autograd.gradcheck(
            lambda h, w, b: log_probs(Head(h, w, b), ids[:, 0], weights=torch.ones(3)), inputs
        )
        assert torch.autograd.gradcheck(lambda h, w, b: entropy(Head(h, w, b), temperature=0.8), inputs)
        assert torch.autograd.gradcheck(lambda h: log_probs(Head(h, s.weight.detach()), ids[:, 0]), s.hidden)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("weights", [None, "ones", "right", "wrong"])
def test_foreseen_weights_never_change_a_result(frozen: bool, weights: str | None) -> None:
    s, t = head(6), head(7)
    if frozen:
        s = Head(s.hidden, s.weight.detach(), None)
    leaves = (s.hidden,) if frozen else (s.hidden, s.weight, s.bias)
    up = torch.tensor([0.5, 0.0, 0.25, 0.25, 0.5, 0.5, 1.0], dtype=torch.float64)
    hint = {
        None: None,
        "ones": torch.ones(N),
        "right": up * 3,
        "wrong": torch.tensor([1.0, 0, 0, 2, 3, 0, 1]),
    }[weights]
    ids = torch.arange(N)
    with kernel_path("plain"):
        want = [
            gradients(divergence(s, t, jsd(0.5)), up, *leaves),
            gradients(log_probs(s, ids), up, *leaves),
        ]
    with kernel_path("stream", budget_bytes=2**14):
        got = [
            gradients(divergence(s, t, jsd(0.5), weights=hint), up, *leaves),
            gradients(log_probs(s, ids, weights=hint), up, *leaves),
        ]
    for a, b in zip(itertools.chain(*got), itertools.chain(*want)):
        close(a, b, 1e-12)


def test_log_probs_entropy_and_top_entries() -> None:
    s = head(8)
    ids = torch.randint(0, V, (N, 3), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([True, True, False, True, False, True, True])
    up = torch.randn(N, 3, dtype=torch.float64)
    results = []
    for path in PATHS_ON_CPU:
        with kernel_path(path, budget_bytes=SMALL):
            many = log_probs(s, torch.where(mask[:, None], ids, -100), temperature=1.2, mask=mask)
            one, spread = log_probs_and_entropy(s, ids[:, 0], temperature=1.2, mask=mask)
            free = entropy(s, temperature=1.2, mask=mask)
            assert not spread.requires_grad
            grads = gradients(many, up, s.hidden, s.weight, s.bias) + gradients(
                free, up[:, 0], s.hidden, s.weight, s.bias
            )
            results.append((many, one, spread, free, *grads))
            top = top_entries(s, 4)
        results[-1] += (top,)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            close(b, a, 1e-12)
        close(other[2], other[3], 1e-12)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_likeliest_entry_is_the_one_whose_log_probability_is_the_largest(frozen: bool) -> None:
    s = head(8)
    if frozen:
        s = Head(s.hidden, s.weight.detach(), None)
    logits = dense(s).detach()
    mask = torch.tensor([True, True, False, True, False, True, True])
    ids = torch.where(torch.arange(N) % 2 == 0, logits.argmax(-1), 0)
    right = (logits.argmax(-1) == ids) & mask
    assert 0 < int(right.sum()) < int(mask.sum())
    expected = log_probs(s, ids, mask=mask)
    [slope] = gradients(expected, mask.double(), s.hidden)
    for path in PATHS_ON_CPU:
        for form in (lambda: s, lambda: dense(s)):
            scores = form()
            with kernel_path(path, budget_bytes=SMALL):
                logp, peak = log_probs_and_peak(scores, ids, mask=mask)
            assert not peak.requires_grad
            close(logp, expected, 1e-12)
            close(peak[mask], logits.log_softmax(-1).amax(-1)[mask], 1e-12)
            assert torch.equal((logp >= peak) & mask, right)
            close(gradients(logp, mask.double(), s.hidden)[0], slope, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"scale": 0.6, "softcap": 7.0}])
def test_tiles_over_the_vocabulary(dtype: torch.dtype, options: dict[str, float]) -> None:
    s = like(head(18, **options), dtype)
    s.weight.data[5] *= 400  # one entry dominates from the first tile on
    ids = torch.randint(0, V, (N, 2), generator=torch.Generator().manual_seed(0))
    exact, up = like(s, torch.float64), torch.linspace(-2, 3, 2 * N, dtype=torch.float64).view(N, 2)
    with kernel_path("plain"):
        want, want_entropy = log_probs_and_entropy(exact, ids, temperature=0.9)
        want_grads = gradients(want, up, exact.hidden, exact.weight, exact.bias)
    for path, budget in (("stream", SMALL), ("stream", 2**14), ("stream", 2**24), ("triton", 2**14)):
        if path not in PATHS_ON_CPU:
            continue
        with kernel_path(path, budget_bytes=budget):
            got, got_entropy = log_probs_and_entropy(s, ids, temperature=0.9)
            got_grads = gradients(got, up.to(got.dtype), s.hidden, s.weight, s.bias)
        exactly = dtype == torch.float64
        close(got, want, 1e-12 if exactly else 2e-6)
        close(got_entropy, want_entropy, 1e-12 if exactly else 1e-5)
        for a, b in zip(got_grads, want_grads):
            close(a, b, 1e-12 if exactly else 1e-2)


def test_sparse_teacher_equals_the_dense_one_when_complete() -> None:
    s, t = head(9), head(10)
    with kernel_path("plain"):
        probs = torch.softmax((t.hidden @ t.weight.T + t.bias).detach(), -1)
        want = divergence(s, t)
        want_grad = gradients(want.mean(), torch.ones((), dtype=torch.float64), s.hidden, s.weight)
    ids = torch.arange(V).expand(N, V)
    with kernel_path("stream", budget_bytes=SMALL):
        got = divergence(s, Sparse(ids, probs))
        got_grad = gradients(got.mean(), torch.ones((), dtype=torch.float64), s.hidden, s.weight)
    close(got, want, 1e-12)
    for a, b in zip(got_grad, want_grad):
        close(a, b, 1e-11)
    padded = Sparse(torch.tensor([[5, -1]]), torch.tensor([[1.0, 0.0]]))
    assert divergence(torch.zeros(1, 8), padded).item() == pytest.approx(torch.tensor(8.0).log().item())


@pytest.mark.parametrize("path", ["plain", "stream", fused_on_cpu])
def test_masked_classes_follow_zero_log_zero(path: str) -> None:
    s = torch.tensor([[1.0, 2.0, -torch.inf, 0.0]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([[1.0, 2.0, -torch.inf, -torch.inf]], dtype=torch.float64)
    with kernel_path(path, budget_bytes=SMALL):
        values = {str(k): divergence(s, t, k) for k in KINDS}
        assert values[str(REVERSE)].item() == torch.inf
        for kind in (FORWARD, jsd(0.5), skewed_forward(0.1), skewed_reverse(0.3), TOTAL_VARIATION, HELLINGER):
            assert values[str(kind)].isfinite().all()
            assert torch.autograd.grad(values[str(kind)].sum(), s)[0].isfinite().all()
        both = divergence(t.clone().requires_grad_(), t, REVERSE)
        assert both.item() == pytest.approx(0, abs=1e-15)
        picked = log_probs(s, torch.tensor([3]))
        assert picked.isfinite().all()
        assert entropy(s).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_of_ten_thousand(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(11)
    s = (torch.randn(4, 64, generator=g, dtype=torch.float64) * 1e4).to(dtype).requires_grad_()
    t = (torch.randn(4, 64, generator=g, dtype=torch.float64) * 1e4).to(dtype)
    for kind in (FORWARD, REVERSE, jsd(0.5), skewed_forward(0.1), skewed_reverse(0.1), TOTAL_VARIATION):
        got = []
        for path in ("plain", "stream"):
            with kernel_path(path, budget_bytes=SMALL):
                d = divergence(s, t, kind)
                got.append((d, torch.autograd.grad(d.sum(), s)[0]))
        assert all(x.isfinite().all() for pair in got for x in pair)
        # Saturated gradients are differences of numbers of the logits' size: rounding is measured against that.
        rounding = 1e5 * torch.finfo(dtype).eps
        torch.testing.assert_close(got[1][0], got[0][0], rtol=1e-6, atol=rounding)
        torch.testing.assert_close(got[1][1], got[0][1], rtol=1e-6, atol=rounding)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_sum_in_float32(dtype: torch.dtype) -> None:
    s, t = like(head(12), dtype), like(head(13), dtype)
    up = torch.full((N,), 1 / N)
    exact = like(s, torch.float64), like(t, torch.float64)
    with kernel_path("plain"):
        want = divergence(*exact, jsd(0.5))
        grads = gradients(want, up.double(), exact[0].hidden, exact[0].weight, exact[0].bias)
    for path in PATHS_ON_CPU:
        with kernel_path(path, budget_bytes=2**14), torch.autocast("cpu", dtype=torch.bfloat16):
            got = divergence(s, t, jsd(0.5))
            found = gradients(got, up, s.hidden, s.weight, s.bias)
        assert got.dtype == torch.float32
        close(got, want, 1e-6)
        for a, b in zip(found, grads):
            assert a.dtype == dtype
            close(a, b, 1e-2)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_budget_does_not_change_results(n: int) -> None:
    s, t = head(14, torch.float32, n=n, v=1009), head(15, torch.float32, n=n, v=1009)
    results = []
    for budget in (SMALL, 9_999, 2**20, 2**27):
        with kernel_path("stream", budget_bytes=budget):
            d = divergence(s, t, REVERSE)
            results.append((d, *torch.autograd.grad(d.mean() if n else d.sum(), (s.hidden, s.weight))))
    for other in results[1:]:
        for a, b in zip(other, results[0]):
            if a.numel():
                close(a, b, 5e-6)


def test_everything_masked_and_second_backward() -> None:
    s, t = head(16), head(17)
    with kernel_path("stream"):
        d = divergence(s, t, mask=torch.zeros(N, dtype=torch.bool))
        (d * 0).sum().backward()
        assert (s.weight.grad == 0).all()
        assert (s.hidden.grad == 0).all()
        d = divergence(s, t)
        first = torch.autograd.grad(d.mean(), s.weight, retain_graph=True)[0]
        second = torch.autograd.grad(2 * d.mean(), s.weight)[0]
    close(second, 2 * first, 1e-12)


def test_wider_vocabulary_is_padding() -> None:
    s, t = torch.randn(3, 10), torch.randn(3, 12)
    assert torch.equal(divergence(s, t), divergence(s, t[:, :10]))


def test_errors_teach() -> None:
    x = torch.zeros(2, 5)
    with pytest.raises(CounterpointError, match=r"kind=jsd\(beta\)"):
        divergence(x, x, "jsd")
    with pytest.raises(CounterpointError, match="reverse"):
        divergence(x, x, "revrese")
    with pytest.raises(CounterpointError, match="ids != -100"):
        log_probs(x, torch.tensor([-100, 1]))
    with pytest.raises(CounterpointError, match="aligned"):
        divergence(x, torch.zeros(3, 5))
    with pytest.raises(CounterpointError, match="labels != -100"):
        entropy(x, mask=torch.ones(3, dtype=torch.bool))
    with pytest.raises(CounterpointError, match="get_output_embeddings"):
        Head(torch.zeros(2, 3), torch.zeros(5, 4))
    with pytest.raises(CounterpointError, match="stream"):
        kernel_path("steam").__enter__()
