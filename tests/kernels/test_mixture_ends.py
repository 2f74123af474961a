"""Jensen-Shannon, skewed and alpha divergences near their ends in float32: to float32's own digits of what float64 sums up.

The references are summed by definition in 60 digits (float64 itself loses a skewed divergence near its end).
"""

import decimal
import math
from decimal import Decimal

import pytest
import torch

from counterpoint.kernels.config import kernel_path
from counterpoint.kernels.divergence_rows import (
    amari,
    jsd,
    near_end,
    row_divergence,
    skewed_forward,
    skewed_reverse,
)
from counterpoint.kernels.vocabulary import divergence

ENDS = [
    *(jsd(beta) for beta in (1e-8, 1e-6, 1e-3, 0.0156, 1 - 1e-3, 1 - 1e-6)),
    *(form(lam) for form in (skewed_forward, skewed_reverse) for lam in (1 - 1e-6, 1 - 1e-3, 0.99, 1e-6)),
    *(amari(alpha) for alpha in (1e-8, 1e-6, 1e-3, 1 - 1e-3, 1 - 1e-6)),
]
MIDDLE = [jsd(0.0157), jsd(0.5), skewed_forward(0.98), skewed_reverse(0.1)]
ROWS, WIDTH = 4, 23


def logits(spread, dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    s = torch.randn(ROWS, WIDTH, generator=draw) * spread
    t = torch.randn(ROWS, WIDTH, generator=draw) * spread
    return s.to(dtype).requires_grad_(), t.to(dtype)


def by_definition(z, t, kind):
    """One row's divergence from logits in 60 digits."""
    decimal.getcontext().prec = 60
    s, t = ([Decimal(v).exp() for v in row] for row in (z, t))
    s, t = ([v / sum(row) for v in row] for row in (s, t))
    pairs, x = list(zip(s, t, strict=True)), Decimal(kind.parameter)
    if kind.name == "alpha":
        return (sum(b**x * a ** (1 - x) for a, b in pairs) - 1) / (x * (x - 1))
    share = 1 - x if kind.name == "skewed_reverse" else x
    mixed = [(a, b, (1 - share) * a + share * b) for a, b in pairs]
    to_t = sum(b * (b / m).ln() for _, b, m in mixed)
    to_s = sum(a * (a / m).ln() for a, _, m in mixed)
    return {"jsd": x * to_t + (1 - x) * to_s, "skewed_forward": to_t, "skewed_reverse": to_s}[kind.name]


def exact(z, t, kind):
    rows = zip(z.tolist(), t.tolist(), strict=True)
    return torch.tensor([float(by_definition(*row, kind)) for row in rows], dtype=torch.float64)


def exact_gradient(z, t, kind, step=Decimal("1e-20")):
    """By central differences in 60 digits, of the first row's first entries."""
    slopes = []
    for at in range(4):
        ends = []
        for sign in (1, -1):
            row = [Decimal(v) for v in z[0].tolist()]
            row[at] += sign * step
            ends.append(by_definition(row, t[0].tolist(), kind))
        slopes.append(float((ends[0] - ends[1]) / (2 * step)))
    return torch.tensor(slopes, dtype=torch.float64)


@pytest.mark.parametrize("kind", [*ENDS, *MIDDLE], ids=str)
@pytest.mark.parametrize("path", ["plain", "stream"])
def test_values_and_gradients_keep_float32s_digits(kind, path):
    z, t = logits(2.0)
    with kernel_path(path, budget_bytes=2**12):
        got = divergence(z, t, kind)
    slope = torch.autograd.grad(got.sum(), z)[0]
    right = exact(z, t, kind)
    assert float((got.detach().double() / right - 1).abs().max()) < 2e-5
    wanted = exact_gradient(z, t, kind)
    assert float((slope[0, :4].double() - wanted).abs().max() / wanted.abs().max()) < 5e-5


@pytest.mark.parametrize("kind", ENDS, ids=str)
@pytest.mark.parametrize("path", ["plain", "stream"])
def test_steep_logits_stay_finite_and_right(kind, path):
    z, t = logits(60.0)
    with kernel_path(path, budget_bytes=2**12):
        got = divergence(z, t, kind)
    slope = torch.autograd.grad(got.sum(), z)[0]
    assert torch.isfinite(slope).all()
    right = exact(z, t, kind)
    assert float((got.detach().double() - right).abs().max() / right.max()) < 1e-4


@pytest.mark.parametrize("kind", ENDS, ids=str)
def test_entries_of_probability_0(kind):
    z, t = (x.detach().clone() for x in logits(1.0, torch.float64))
    z[0, 0] = t[0, 1] = -math.inf
    z[1, 2] = t[1, 2] = -math.inf
    z.requires_grad_()
    row = row_divergence(z.log_softmax(-1), t.log_softmax(-1), kind)
    keep = torch.arange(WIDTH) != 2
    without = row_divergence(z[1, keep].log_softmax(-1), t[1, keep].log_softmax(-1), kind)
    torch.testing.assert_close(row[1], without, rtol=1e-9, atol=0)
    if torch.isfinite(row[0]) and kind.name != "alpha":
        nearly = [x.detach().clamp(min=-1e4) for x in (z[:1], t[:1])]
        torch.testing.assert_close(row[:1].detach(), exact(*nearly, kind), rtol=1e-6, atol=0)
    else:
        assert kind.name == "alpha" or kind.parameter < 0.5  # alpha: powers of 0, which are 0
    slope = torch.autograd.grad(row[torch.isfinite(row)].sum(), z)[0]
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("kind", ENDS, ids=str)
def test_gradcheck(kind):
    z, t = logits(0.7, torch.float64)
    scale = 1 / float(divergence(z, t, kind).detach().max())
    assert torch.autograd.gradcheck(lambda x: scale * divergence(x, t, kind), (z,), rtol=1e-3)


def test_equal_rows_have_no_divergence():
    z, _ = logits(2.0)
    for kind in ENDS:
        value = divergence(z, z.detach(), kind)
        assert value.abs().max() < 1e-8
        assert torch.autograd.grad(value.sum(), z)[0].abs().max() < 1e-7


def test_the_forms_meet():
    z, t = logits(2.0, torch.float64)
    for inside, outside in ((jsd(0.015624), jsd(0.015626)), (jsd(1 - 0.015624), jsd(1 - 0.015626)),
                            (skewed_forward(1 - 0.015624), skewed_forward(1 - 0.015626)),
                            (skewed_reverse(1 - 0.015624), skewed_reverse(1 - 0.015626))):  # fmt: skip
        assert near_end(inside)
        assert not near_end(outside)
        torch.testing.assert_close(divergence(z, t, inside), divergence(z, t, outside), rtol=1e-3, atol=0)
