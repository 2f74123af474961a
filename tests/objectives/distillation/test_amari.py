"""Amari's divergences at every alpha, also next to their limits, against arithmetic with sixty digits."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
import torch

from counterpoint.kernels.config import kernel_path
from counterpoint.kernels.divergence_rows import FORWARD, REVERSE, Kind, amari, row_divergence
from counterpoint.kernels.scores import Head
from counterpoint.kernels.vocabulary import divergence
from fused_paths import PATHS_ON_CPU

STUDENT, TEACHER = [1.0, -2.0, 0.25, 3.0], [-1.0, 0.5, 0.25, 2.0]
ALPHAS = [-1.5, -1e-3, -1e-9, 1e-12, 1e-6, 0.3, 0.5, 0.7, 1 - 1e-6, 1 - 1e-12, 1 + 1e-9, 1.01, 2.5]


def softmax(logits: list[float]) -> list[Decimal]:
    powers = [Decimal(z).exp() for z in logits]
    return [p / sum(powers) for p in powers]


def exact(alpha: float) -> tuple[float, list[float]]:
    """Value and gradient by the student's logits, from the definition."""
    with localcontext() as context:
        context.prec = 60
        a, s, t = Decimal(alpha), softmax(STUDENT), softmax(TEACHER)
        powers = [(a * q.ln() + (1 - a) * p.ln()).exp() for p, q in zip(s, t)]
        value = (sum(powers) - 1) / (a * (a - 1))
        return float(value), [float(-(w - p * sum(powers)) / a) for w, p in zip(powers, s)]


def close(value: torch.Tensor, gradient: torch.Tensor, alpha: float, rtol: float) -> None:
    wanted, slope = exact(alpha)
    torch.testing.assert_close(value.detach().double(), torch.tensor(wanted).double(), rtol=rtol, atol=0)
    torch.testing.assert_close(gradient.double(), torch.tensor(slope).double(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-6), (torch.float32, 1e-5)], ids=str)
def test_rows(alpha: float, dtype: torch.dtype, rtol: float) -> None:
    z = torch.tensor(STUDENT, dtype=dtype, requires_grad=True)
    log_t = torch.tensor(TEACHER, dtype=dtype).log_softmax(-1)
    value = row_divergence(z.log_softmax(-1), log_t, amari(alpha))
    close(value, torch.autograd.grad(value, z)[0], alpha, rtol)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("path", PATHS_ON_CPU)
def test_streamed(alpha: float, path: str) -> None:
    with kernel_path(path, budget_bytes=1024):
        z = torch.tensor([STUDENT], dtype=torch.float64).T.contiguous().requires_grad_()
        one = torch.ones(1, 1, dtype=torch.float64)
        teacher = Head(one, torch.tensor([TEACHER], dtype=torch.float64).T.contiguous())
        value = divergence(Head(one, z), teacher, amari(alpha))
        close(value[0], torch.autograd.grad(value.sum(), z)[0][:, 0], alpha, 1e-6)


@pytest.mark.parametrize(
    ("alpha", "limit", "student", "teacher"),
    [
        (1e-10, REVERSE, [0.6, 0.4, 0.0, 0.0], [0.5, 0.3, 0.2, 0.0]),
        (1 - 1e-10, FORWARD, [0.5, 0.3, 0.2, 0.0], [0.6, 0.4, 0.0, 0.0]),
    ],
)
def test_limits_with_entries_that_are_ruled_out(
    alpha: float, limit: Kind, student: list[float], teacher: list[float]
) -> None:
    log_s, log_t = (torch.tensor(row, dtype=torch.float64).log() for row in (student, teacher))
    log_s.requires_grad_()
    values = [row_divergence(log_s, log_t, kind) for kind in (amari(alpha), limit)]
    torch.testing.assert_close(values[0], values[1], rtol=1e-8, atol=0)
    assert torch.autograd.grad(values[0], log_s)[0].isfinite().all()
