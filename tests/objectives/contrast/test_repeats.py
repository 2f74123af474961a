"""Rows that repeat one thing are no negatives of one another: by loops in float64, by parts, and the plain form without repeats."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from counterpoint.errors import CounterpointError
from counterpoint.objectives.contrast.global_contrast import robust_pairs
from counterpoint.objectives.contrast.infonce import info_nce, nt_xent, symmetric_info_nce
from counterpoint.objectives.contrast.margins import pair_margin
from counterpoint.objectives.contrast.view_contrast import view_contrast

TAU, GAMMA, RHO = 0.3, 0.8, 0.4
REPEATS = torch.tensor([4, 1, 4, 2, 4, 1])


def rows(count=6, seed=0):
    z = torch.randn(2, count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return z[0].requires_grad_(), z[1].requires_grad_()


def naive(queries, keys, repeats, decoupled=False):
    q, k = normalize(queries, dim=1), normalize(keys, dim=1)
    losses = []
    for i in range(len(q)):
        own = (q[i] @ k[i] / TAU).exp()
        others = [(q[i] @ k[j] / TAU).exp() for j in range(len(k)) if repeats[j] != repeats[i]]
        losses.append(torch.log(sum(others) if decoupled else own + sum(others)) - torch.log(own))
    return torch.stack(losses)


def naive_views(first, second, repeats):
    z = normalize(torch.cat([first, second]), dim=1)
    n, groups = len(first), repeats.repeat(2)
    losses = []
    for i in range(2 * n):
        own = (z[i] @ z[(i + n) % (2 * n)] / TAU).exp()
        others = [(z[i] @ z[j] / TAU).exp() for j in range(2 * n) if groups[j] != groups[i]]
        losses.append(torch.log(own + sum(others)) - torch.log(own))
    return torch.stack(losses).view(2, n).mean(0)


FORMS = {
    "one way": (
        lambda a, b, r, **o: info_nce(a, b if not o else o["candidates"][1], temperature=TAU, repeats=r, offset=o.get("offset", 0)),
        naive,
    ),
    "decoupled": (
        lambda a, b, r, **o: info_nce(a, b if not o else o["candidates"][1], temperature=TAU, repeats=r, decoupled=True, offset=o.get("offset", 0)),
        lambda a, b, r: naive(a, b, r, True),
    ),
    "symmetric": (
        lambda a, b, r, **o: symmetric_info_nce(a, b, temperature=TAU, repeats=r, **o),
        lambda a, b, r: (naive(a, b, r) + naive(b, a, r)) / 2,
    ),
    "views": (lambda a, b, r, **o: nt_xent(a, b, temperature=TAU, repeats=r, **o), naive_views),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_values_and_gradients_are_the_loops(name):
    loss, loop = FORMS[name]
    a, b = rows()
    got, right = loss(a, b, REPEATS), loop(a, b, REPEATS)
    torch.testing.assert_close(got, right)
    weight = torch.arange(1.0, 7.0, dtype=torch.float64)
    for mine, theirs in zip(
        torch.autograd.grad((got * weight).sum(), (a, b)),
        torch.autograd.grad((right * weight).sum(), (a, b)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
    assert torch.autograd.gradcheck(lambda x, y: loss(x, y, REPEATS), (a, b))


@pytest.mark.parametrize("name", FORMS)
def test_without_repeats_it_is_the_plain_form_to_the_last_bit(name):
    a, b = rows()
    plain, given = (FORMS[name][0](a, b, r) for r in (None, torch.tensor([7, 3, 9, 1, 0, 2])))
    assert torch.equal(plain, given)
    assert not torch.allclose(plain, FORMS[name][0](a, b, REPEATS))


@pytest.mark.parametrize("name", FORMS)
def test_parts_equal_the_whole(name):
    loss = FORMS[name][0]
    a, b = rows()
    parts = [
        loss(a[start:end], b[start:end], REPEATS, candidates=(a, b), offset=start)
        for start, end in ((0, 2), (2, 6))
    ]
    torch.testing.assert_close(torch.cat(parts), loss(a, b, REPEATS))


@pytest.mark.parametrize("name", FORMS)
def test_a_row_that_all_others_repeat_is_0_and_finite(name):
    a, b = rows()
    values = FORMS[name][0](a, b, torch.zeros(6, dtype=torch.int64))
    grads = torch.autograd.grad(values.sum(), (a, b), allow_unused=True)
    assert values.abs().max() < 1e-12
    assert all(grad is None or grad.abs().max() < 1e-12 for grad in grads)


def naive_robust(anchors, partners, tau, log_s):
    """(surrogate's gradient as a loss, log s_new, temperature gradient): sums over other captions and the own one, over M - size."""
    u, v = normalize(anchors, dim=1), normalize(partners, dim=1)
    losses, stored, slopes = [], [], []
    for i in range(len(u)):
        rest = [j for j in range(len(v)) if REPEATS[j] != REPEATS[i]]
        h = torch.stack([u[i] @ v[j] - u[i] @ v[i] for j in [*rest, i]])
        e = (h.detach() / tau[i]).exp()
        g = e.sum() / len(rest)
        new = (1 - GAMMA) * log_s[i].exp() + GAMMA * g
        losses.append((e / new * h).sum() / len(rest))
        stored.append(new.log())
        slopes.append(new.log() + RHO - (e / new * h.detach() / tau[i]).sum() / len(rest))
    return torch.stack(losses), torch.stack(stored), torch.stack(slopes)


def test_global_contrast_leaves_repeats_out_of_sum_and_mean():
    a, b = rows()
    tau = torch.linspace(0.2, 0.7, 6, dtype=torch.float64)
    log_s = torch.linspace(-0.5, 1.0, 6, dtype=torch.float64)
    seen = robust_pairs(a, b, tau, log_s, gamma=GAMMA, rho=RHO, repeats=REPEATS)
    losses, stored, slopes = naive_robust(a, b, tau, log_s)
    torch.testing.assert_close(seen.log_average, stored)
    torch.testing.assert_close(seen.temperature_gradient, slopes)
    for mine, theirs in zip(
        torch.autograd.grad(seen.values.sum(), (a, b)),
        torch.autograd.grad(losses.sum(), (a, b)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
    unique = robust_pairs(a, b, tau, log_s, gamma=GAMMA, rho=RHO, repeats=torch.arange(6))
    plain = robust_pairs(a, b, tau, log_s, gamma=GAMMA, rho=RHO)
    assert torch.equal(unique.values, plain.values)
    assert torch.equal(unique.temperature_gradient, plain.temperature_gradient)


def test_global_contrast_of_nothing_but_repeats_moves_no_row():
    a, b = rows()
    one = torch.full((6,), 0.3, dtype=torch.float64)
    seen = robust_pairs(a, b, one, one - math.inf, gamma=GAMMA, rho=RHO, fresh=True, repeats=torch.zeros(6, dtype=torch.int64))  # fmt: skip
    assert all(grad.abs().max() < 1e-12 for grad in torch.autograd.grad(seen.values.sum(), (a, b)))
    torch.testing.assert_close(seen.log_average, torch.zeros(6, dtype=torch.float64))
    assert torch.isfinite(seen.temperature_gradient).all()


@pytest.mark.parametrize("name", ["pair_margin", "triplet_l2", "triplet_cos"])
def test_the_one_other_row_is_no_negative_where_it_repeats(name):
    a, b = rows()
    got = view_contrast(name, a, b, margin=3.0, step=2, repeats=REPEATS).values
    plain = view_contrast(name, a, b, margin=3.0, step=2).values
    apart = REPEATS.roll(-2) != REPEATS
    assert 0 < apart.sum() < 6
    assert torch.equal(got[apart], plain[apart])
    near = pair_margin(a, b, torch.ones(6), 3.0) / 2 if name == "pair_margin" else torch.zeros(6)
    assert torch.equal(got[~apart], near[~apart].to(got))


@pytest.mark.parametrize("name", ["ntxent", "oneway", "symmetric", "n_pair"])
def test_losses_of_views_pass_repeats_on(name):
    a, b = rows()
    assert (view_contrast(name, a, b, repeats=REPEATS).values < view_contrast(name, a, b).values).any()


def test_numbers_that_do_not_fit_are_refused():
    a, b = rows()
    with pytest.raises(CounterpointError, match="one number each, over all ranks' rows"):
        info_nce(a, b, repeats=REPEATS[:3])
    with pytest.raises(CounterpointError, match="give one of both"):
        info_nce(a, b, negatives=b.detach(), repeats=REPEATS)
