"""Hindsight advantages and their loss: loops, gradients, the expectation that is the KL's gradient, centring, extremes, parts."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.kernels.vocabulary import divergence, log_probs
from counterpoint.objectives.distillation.hindsight import advantages, token_losses, without_first
from counterpoint.objectives.tokens import aggregate

MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("center", ["none", "sequence"])
@pytest.mark.parametrize("clipping", [False, True])
def test_it_is_the_loop_and_its_gradient(center: str, clipping: bool) -> None:
    logp, after, old = draw(4, 3).requires_grad_(), draw(4, 3, seed=1), draw(4, 3, seed=2)

    def loss(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        given = {"old_BT": old, "low": 0.2, "high": 0.3} if clipping else {}
        return aggregate(token_losses(x, a, MASK, **given), MASK, "sequence_mean").mean()

    advantage = advantages(logp, after, MASK, center)
    assert not advantage.requires_grad
    rows = []
    for row in range(4):
        counted = [t for t in range(3) if MASK[row, t]]
        a = [float(after[row, t] - logp[row, t].detach()) for t in counted]
        middle = sum(a) / len(a) if center == "sequence" and a else 0.0
        total = 0.0
        for value, t in zip(a, counted):
            value, lp = value - middle, float(logp[row, t].detach())
            ratio = math.exp(lp - float(old[row, t]))
            total += -min(ratio * value, min(max(ratio, 0.8), 1.3) * value) if clipping else -value * lp
        rows.append(total / max(len(counted), 1))
    assert float(loss(logp, advantage).detach()) == pytest.approx(sum(rows) / 4, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: loss(x, advantage), (logp,))


def test_the_expected_gradient_is_that_of_the_full_kl() -> None:
    z, t = draw(1, 1, 6).requires_grad_(), draw(1, 1, 6, seed=1)
    whole = torch.autograd.grad(divergence(z, t, "reverse").sum(), z)[0]
    p, mask = z.detach().softmax(-1)[0, 0], torch.ones(1, 1)
    expected = torch.zeros_like(z)
    for v in range(6):
        ids = torch.tensor([[v]])
        logp = log_probs(z, ids)
        loss = token_losses(logp, advantages(logp, log_probs(t, ids), mask), mask).sum()
        expected += p[v] * torch.autograd.grad(loss, z)[0]
    torch.testing.assert_close(expected, whole, rtol=1e-10, atol=1e-14)


def test_equal_views_push_nothing() -> None:
    logp = draw(4, 3).requires_grad_()
    token_losses(logp, advantages(logp, logp.detach(), MASK), MASK).sum().backward()
    assert (logp.grad == 0).all()


def test_centring_loses_the_answer_as_a_whole() -> None:
    logp, after = draw(4, 3), draw(4, 3, seed=1)
    centred = advantages(logp, after - 5.0, MASK, "sequence")
    torch.testing.assert_close(centred, advantages(logp, after, MASK, "sequence"), rtol=0, atol=1e-12)
    assert centred.sum(-1).abs().max() < 1e-12
    assert (centred[1] == 0).all(), "an answer of one token learns nothing"
    with pytest.raises(CounterpointError, match="expected 'none' or 'sequence'"):
        advantages(logp, after, MASK, "batch")


def test_first_tokens_are_left_out_where_any_answer_goes_on() -> None:
    assert without_first(MASK, 1).tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert without_first(MASK, 3).tolist() == MASK.tolist()


def test_extremes_padding_order_and_parts() -> None:
    logp = torch.where(MASK.bool(), draw(4, 3), torch.nan).requires_grad_()
    after = torch.where(MASK.bool(), draw(4, 3, seed=1) - 1e4, torch.inf)
    losses = token_losses(logp, advantages(logp, after, MASK), MASK)
    losses.sum().backward()
    assert (losses[~MASK.bool()] == 0).all()
    slope = torch.where(
        MASK.bool(), logp.detach() - after, 0.0
    )  # minus the advantage, and none in the padding
    torch.testing.assert_close(logp.grad, slope)
    whole = aggregate(losses.detach(), MASK, "sequence_mean").values
    parts = [
        aggregate(
            token_losses(logp[rows], advantages(logp[rows], after[rows], MASK[rows]), MASK[rows]).detach(),
            MASK[rows],
            "sequence_mean",
        ).values
        for rows in (torch.tensor([2, 0]), torch.tensor([3, 1]))
    ]
    torch.testing.assert_close(torch.cat(parts), whole[[2, 0, 3, 1]], rtol=0, atol=0)
