"""Peak bytes of the streaming kernels lie within 10 % of what their docstrings promise, and never above."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from counterpoint.kernels.config import kernel_path
from counterpoint.kernels.similarity import not_self, similarity_logsumexp, similarity_logsumexp_both
from counterpoint.kernels.vocabulary import Head, divergence, jsd, log_probs

BUDGET = 2**24
N, V, D = 300, 20_000, 64
ROWS, WIDTH = 3_880, 16  # two blocks a side fill the budget


def peak_bytes(function: Callable[[], None]) -> int:
    """Largest number of bytes that torch's allocator held at once, above the start."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        function()
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = top = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        top = max(top, now)
    return top


def check(function: Callable[[], None], formula: int) -> None:
    with kernel_path("stream", budget_bytes=BUDGET):
        peak = peak_bytes(function)
    assert 0.9 * formula <= peak <= formula, peak / formula


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("what", ["divergence", "log_probs"])
def test_vocabulary(what: str, frozen: bool) -> None:
    # As many positions as fill whole chunks, so that the budget is used up.
    buffers = {"divergence": 2, "log_probs": 1}[what]
    n = (BUDGET - 3 * buffers * 2**17 * 4) // (buffers * V * 4) * 3
    student = Head(torch.randn(n, D, requires_grad=True), torch.randn(V, D, requires_grad=not frozen))
    teacher, ids = Head(torch.randn(n, 32), torch.randn(V, 32)), torch.zeros(n, dtype=torch.long)

    def step() -> None:
        value = divergence(student, teacher, jsd(0.5)) if what == "divergence" else log_probs(student, ids)
        value.mean().backward()

    check(step, (0 if frozen else V * D * 4) + n * D * 4 + BUDGET)


@pytest.mark.parametrize("what", ["one-way", "both", "self"])
def test_similarity(what: str) -> None:
    a, b = (torch.randn(ROWS, WIDTH, requires_grad=True) for _ in range(2))

    def step() -> None:
        if what == "one-way":
            similarity_logsumexp(a, b).mean().backward()
        elif what == "both":
            sum(v.mean() for v in similarity_logsumexp_both(a, b)).backward()
        else:
            similarity_logsumexp(a, include=[not_self(ROWS)]).mean().backward()

    check(step, (1 if what == "self" else 2) * ROWS * WIDTH * 4 + BUDGET)


def test_gradients_larger_than_the_budget_are_held_once() -> None:
    rows, width, budget = 6_000, 256, 2**21
    a, b = (torch.randn(rows, width, requires_grad=True) for _ in range(2))

    def step() -> None:
        similarity_logsumexp(a, b, scale=0.1).mean().backward()

    with kernel_path("stream", budget_bytes=budget):
        assert peak_bytes(step) <= 1.01 * (2 * rows * width * 4 + budget)


def test_masked_rows_are_never_computed() -> None:
    mask = torch.arange(N) % 3 == 0
    hidden = torch.where(mask[:, None], torch.randn(N, D), torch.nan).requires_grad_()
    weight = torch.randn(V, D, requires_grad=True)
    with kernel_path("stream", budget_bytes=BUDGET):
        value = divergence(Head(hidden, weight), Head(hidden.detach() * 2, weight.detach()), mask=mask)
        value.sum().backward()
    assert value.isfinite().all()
    assert weight.grad.isfinite().all()
    assert (hidden.grad[~mask] == 0).all()
