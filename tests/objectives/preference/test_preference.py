"""Preference losses against naive float64 loops, at extremes, and under permutation and splitting."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference.kto import kto, reference_point
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.preference.preference import (
    LINKS,
    PAIRWISE,
    REFERENCE_FREE,
    Pair,
    pairwise,
    reward_statistics,
)
from counterpoint.objectives.tokens import log1mexp

SMOOTHED = {"cdpo", "robust", "exo_pair", "reference_free", "simpo"}
LINKED = {"sigmoid", "cdpo", "robust", "exo_pair", "hinge", "apo_down"}


def lsg(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def sig(x: float) -> float:
    return math.exp(lsg(x))


def one(
    name: str, w: float, l: float, rw: float, rl: float, nw: int, nl: int, beta: float, e: float, gamma: float
) -> float:
    """The published formula of one pair, in plain Python."""
    u, v = w - rw, l - rl
    h = u - v
    odds = lambda mean: mean - math.log(1 - math.exp(mean))  # noqa: E731
    return {
        "sigmoid": lambda: -lsg(beta * h),
        "cdpo": lambda: -(1 - e) * lsg(beta * h) - e * lsg(-beta * h),
        "robust": lambda: (-(1 - e) * lsg(beta * h) + e * lsg(-beta * h)) / (1 - 2 * e),
        "exo_pair": lambda: (
            sig(beta * h) * (lsg(beta * h) - math.log(1 - e))
            + sig(-beta * h) * (lsg(-beta * h) - math.log(e))
        ),
        "hinge": lambda: max(0.0, 1 - beta * h),
        "ipo": lambda: (u / nw - v / nl - 1 / (2 * beta)) ** 2,
        "ipo_sum": lambda: (h - 1 / (2 * beta)) ** 2,
        "sigmoid_norm": lambda: -lsg(beta * (u / nw - v / nl)),
        "bco_pair": lambda: -lsg(beta * u) - lsg(-beta * v),
        "nca_pair": lambda: -lsg(beta * u) - 0.5 * lsg(-beta * u) - 0.5 * lsg(-beta * v),
        "apo_zero": lambda: 1 - sig(beta * u) + sig(beta * v),
        "apo_down": lambda: sig(beta * u) + 1 - sig(beta * h),
        "sppo_hard": lambda: (u - 1 / (2 * beta)) ** 2 + (v + 1 / (2 * beta)) ** 2,
        "reference_free": lambda: -(1 - e) * lsg(beta * (w - l)) - e * lsg(-beta * (w - l)),
        "slic": lambda: max(0.0, gamma - w + l),
        "simpo": lambda: (
            -(1 - e) * lsg(beta * (w / nw - l / nl) - gamma) - e * lsg(-beta * (w / nw - l / nl) + gamma)
        ),
        "odds_ratio": lambda: -beta * lsg(odds(w / nw) - odds(l / nl)),
    }[name]()


def pair(size: int = 5, seed: int = 0, scale: float = 8.0, grad: bool = False) -> Pair:
    g = torch.Generator().manual_seed(seed)
    logps = [-(0.1 + scale * torch.rand(size, generator=g, dtype=torch.float64)) for _ in range(4)]
    counts = [torch.randint(1, 9, (size,), generator=g) for _ in range(2)]
    return Pair(*(x.requires_grad_(grad) if i < 2 else x for i, x in enumerate(logps)), *counts)


def options(name: str) -> dict[str, float]:
    return (
        {"beta": 0.4}
        | ({"smoothing": 0.15} if name in SMOOTHED else {})
        | ({"margin": 0.7} if name in ("simpo", "slic") else {})
    )


@pytest.mark.parametrize("name", PAIRWISE)
def test_naive_loop(name: str) -> None:
    p = pair()
    rows = zip(
        *(x.tolist() for x in (p.chosen, p.rejected, p.reference_chosen, p.reference_rejected)),
        *(x.tolist() for x in (p.chosen_length, p.rejected_length)),
    )
    expected = [one(name, *row, 0.4, 0.15, 0.7) for row in rows]
    torch.testing.assert_close(
        pairwise(name, p, **options(name)), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("name", PAIRWISE)
def test_gradcheck(name: str) -> None:
    p = pair()

    def value(w: torch.Tensor, l: torch.Tensor) -> torch.Tensor:
        return pairwise(
            name,
            Pair(w, l, p.reference_chosen, p.reference_rejected, p.chosen_length, p.rejected_length),
            **options(name),
        )

    assert torch.autograd.gradcheck(
        value, (p.chosen.clone().requires_grad_(), p.rejected.clone().requires_grad_())
    )


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", sorted(LINKED))
def test_links_gradcheck_and_formula(name: str, link: str) -> None:
    p = pair(seed=3, scale=2.0)
    f = {
        "reverse_kl": lambda u: u,
        "forward_kl": lambda u: 1 - (-u).exp(),
        "js": lambda u: math.log(2) + torch.nn.functional.logsigmoid(u),
        "alpha": lambda u: ((-0.5 * u).exp() - 1) / -0.5,
    }[link]
    u_w, u_l = p.ratios()
    as_scores = Pair(f(u_w), f(u_l), *[torch.zeros_like(u_w)] * 2, p.chosen_length, p.rejected_length)
    if name != "apo_down":  # its first part reads the ratio itself
        torch.testing.assert_close(
            pairwise(name, p, link=link, **options(name)), pairwise(name, as_scores, **options(name))
        )

    def value(w: torch.Tensor, l: torch.Tensor) -> torch.Tensor:
        return pairwise(
            name, Pair(w, l, p.reference_chosen, p.reference_rejected), link=link, **options(name)
        )

    assert torch.autograd.gradcheck(
        value, (p.chosen.clone().requires_grad_(), p.rejected.clone().requires_grad_())
    )


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_margins_stay_finite(name: str, size: int, dtype: torch.dtype) -> None:
    for w, l in [(-1e4, -1e-3), (-1e-3, -1e4), (0.0, -1e4), (-1e4, 0.0)]:
        leaves = [torch.full((size,), v, dtype=dtype, requires_grad=True) for v in (w, l)]
        n = torch.full((size,), 3)
        values = pairwise(
            name, Pair(*leaves, *[torch.full((size,), -50.0, dtype=dtype)] * 2, n, n), **options(name)
        )
        values.sum().backward()
        assert values.isfinite().all()
        assert all(leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize("name", sorted(set(PAIRWISE) - REFERENCE_FREE))
def test_pulls_the_right_way(name: str) -> None:
    p = pair(seed=1, grad=True)
    same = Pair(
        p.chosen, p.rejected, p.chosen.detach(), p.rejected.detach(), p.chosen_length, p.rejected_length
    )
    pairwise(name, same, **(options(name))).sum().backward()
    assert (p.rejected.grad >= 0).all()
    assert (p.chosen.grad < 0).all() or name == "apo_down"  # apo_down lowers both, the rejected more


@pytest.mark.parametrize("name", ["sigmoid", "cdpo", "robust", "exo_pair"])
def test_at_the_reference_logistic_losses_are_log_two(name: str) -> None:
    p = pair()
    same = Pair(p.chosen, p.rejected, p.chosen, p.rejected)
    expected = -0.5 * math.log(4 * 0.85 * 0.15) if name == "exo_pair" else math.log(2)
    torch.testing.assert_close(
        pairwise(name, same, **options(name)), torch.full((5,), expected, dtype=torch.float64)
    )
    assert all(
        (reward_statistics(same, 0.1)[key] == 0).all()
        for key in ("reward_chosen", "reward_margin", "reward_accuracy")
    )


@given(seed=st.integers(0, 50), name=st.sampled_from(sorted(PAIRWISE)))
@settings(max_examples=40, deadline=None)
def test_permutation_and_split(seed: int, name: str) -> None:
    p, order = pair(6, seed), torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    pick = lambda where: Pair(*(getattr(p, f)[where] for f in Pair.__dataclass_fields__))  # noqa: E731
    whole = pairwise(name, p, **options(name))
    torch.testing.assert_close(
        pairwise(name, pick(order), **options(name)), whole[order], rtol=1e-12, atol=1e-14
    )
    parts = [pairwise(name, pick(torch.tensor(w)), **options(name)) for w in ([0], [1, 2, 3, 4], [5])]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0)


def test_soft_labels_per_pair_are_cream() -> None:
    p = pair(grad=True)
    c = torch.tensor([1.0, 0.5, 0.0, 0.7, 0.9], dtype=torch.float64)
    pairwise("cdpo", p, beta=0.4, smoothing=1 - c).sum().backward()
    u_w, u_l = p.ratios()
    torch.testing.assert_close(p.chosen.grad, 0.4 * (torch.sigmoid(0.4 * (u_w - u_l)) - c).detach())
    torch.testing.assert_close(pairwise("cdpo", p, smoothing=1 - torch.ones(5)), pairwise("sigmoid", p))


def test_kto_loop_and_gradient() -> None:
    u = torch.tensor([0.3, -2.0, 5.0, 0.1], dtype=torch.float64, requires_grad=True)
    good = torch.tensor([True, False, True, False])
    z = reference_point(torch.tensor([1.0, 3.0, -1.0, 0.0], dtype=torch.float64))
    assert float(z) == 0.75
    values = kto(u, good, z, beta=0.7, desirable_weight=1.3, undesirable_weight=0.6)
    for i, (x, g) in enumerate(zip(u.tolist(), good.tolist())):
        expected = 1.3 * (1 - sig(0.7 * (x - 0.75))) if g else 0.6 * (1 - sig(0.7 * (0.75 - x)))
        assert values[i].item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: kto(x, good, z, beta=0.7), (u,))
    assert float(reference_point(torch.tensor([-1.0, -3.0]))) == 0.0


def test_likelihood_modes_differ_in_gradient() -> None:
    logp = torch.tensor([-6.0, -1.0], requires_grad=True)
    n = torch.tensor([3, 1])
    pooled = torch.autograd.grad(nll(logp, n).mean(), logp)[0]
    each = torch.autograd.grad(nll(logp, n, "sequence_mean").mean(), logp)[0]
    assert pooled.tolist() == [-0.25, -0.25]
    torch.testing.assert_close(each, torch.tensor([-1 / 6, -0.5]))
    assert float(nll(torch.zeros(1), torch.zeros(1)).mean()) == 0.0


def test_log1mexp_against_high_precision() -> None:
    from decimal import Decimal, getcontext

    getcontext().prec = 400
    points = [-1e-12, -1e-5, -0.3, -0.6931, -0.6932, -5.0, -40.0, -700.0]
    expected = [float((1 - Decimal(a).exp()).ln()) for a in points]
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(log1mexp(x), torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=0)
    log1mexp(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda p: pairwise("sigmod", p), "did you mean 'sigmoid'"),
        (lambda p: pairwise("sigmoid", p, smoothing=0.1), "cdpo"),
        (lambda p: pairwise("sigmoid", p, margin=1.0), "no margin"),
        (lambda p: pairwise("ipo", p, link="js"), "takes no link"),
        (lambda p: pairwise("sigmoid", p, link="jss"), "did you mean 'js'"),
        (lambda p: pairwise("robust", p, smoothing=0.5), r"\[0, 0.5\)"),
        (lambda p: pairwise("exo_pair", p), "smoothing"),
        (lambda p: pairwise("sigmoid", Pair(p.chosen, p.rejected)), "reference"),
        (lambda p: pairwise("simpo", Pair(p.chosen, p.rejected)), "lengths"),
        (lambda p: reference_point(p.chosen[:1]), "at least 2"),
    ],
)
def test_errors_teach(call: object, says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        call(pair())


@pytest.mark.parametrize("side", ["reference_chosen", "reference_rejected"])
def test_the_reference_gets_no_gradient(side):
    logps = {name: torch.tensor([-2.0, -3.0]).requires_grad_() for name in
             ("chosen", "rejected", "reference_chosen", "reference_rejected")}  # fmt: skip
    u_w, u_l = Pair(**logps).ratios()
    (u_w - u_l).sum().backward()
    assert logps["chosen"].grad.tolist() == [1.0, 1.0]
    assert logps["rejected"].grad.tolist() == [-1.0, -1.0]
    assert logps[side].grad is None


def test_bco_takes_its_shift_off_both_rewards() -> None:
    p, beta, shift = pair(grad=True), 0.4, torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    value = pairwise("bco_pair", p, beta=beta, shift=shift)
    u, v = (x.tolist() for x in p.ratios())
    expected = [-lsg(beta * a - 0.9) - lsg(-(beta * b - 0.9)) for a, b in zip(u, v)]
    torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    value.sum().backward()
    assert shift.grad is None
    with pytest.raises(CounterpointError, match="bco_pair has"):
        pairwise("sigmoid", p, shift=0.1)
