"""Global contrast of sentences: equal to a float64 loop with repeats, hard negatives and stored averages; in blocks, over ranks, in any order."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import kernel_path
from counterpoint.objectives.contrast.global_contrast import Robust, robust_pairs
from counterpoint.objectives.contrast.robust_sentences import robust_sentences

N, K, D, GAMMA, RHO = 7, 2, 5, 0.7, 0.4
FIELDS = ("values", "log_average", "temperature_gradient")


def rows(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, D, generator=generator, dtype=torch.float64).requires_grad_()


A, P, H = rows(0, N), rows(1, N), rows(2, N, K)
STATE = {
    "temperatures": tuple(0.1 + rows(seed, N).detach().abs()[:, 0] for seed in (3, 4)),
    "log_averages": tuple(rows(seed, N).detach()[:, 0] for seed in (5, 6)),
}
A_TEXT = ["q0", "q1", "q0", "q3", "q4", "q5", "q6"]  # rows 0 and 2 ask the same
P_TEXT = ["p0", "p1", "p2", "p1", "p4", "p5", "q4"]  # rows 1 and 3 have one answer; 6's is what 4 asks
H_TEXT = [[f"h{i}{k}" if (i, k) != (5, 1) else "p0" for k in range(K)] for i in range(N)]


def numbers() -> tuple[Tensor, Tensor, Tensor]:
    found: dict[str, int] = {}

    def number(texts: list[str]) -> Tensor:
        return torch.tensor([found.setdefault(text, len(found)) for text in texts])

    return number(A_TEXT), number(P_TEXT), torch.stack([number(row) for row in H_TEXT])


def by_hand(side: int, hard: bool) -> Robust:
    """Row by row over the keys that are no repeat, and the own partner at difference 0; weights e^{h/tau} / s are constants."""
    a, p, h = (torch.nn.functional.normalize(each, dim=-1) for each in (A, P, H))
    mine, theirs = ((a, p), (p, a))[side]
    values, averages, slopes = [], [], []
    for i in range(N):
        own = {A_TEXT[i], P_TEXT[i]}
        keys = [theirs[j] for j in range(N) if not own & {A_TEXT[j], P_TEXT[j]}]
        if hard and side == 0:
            keys += [h[j, k] for j in range(N) for k in range(K) if H_TEXT[j][k] not in own]
        tau, stored = STATE["temperatures"][side][i], STATE["log_averages"][side][i]
        gaps = torch.stack([mine[i] @ key - mine[i] @ theirs[i] for key in [*keys, theirs[i]]])
        mass = (gaps.detach() / tau).exp() / len(keys)
        new = GAMMA * mass.sum() + (1 - GAMMA) * stored.exp()
        values.append((mass / new * gaps).sum())
        averages.append(new.log())
        slopes.append(new.log() + RHO - (mass / new * gaps.detach()).sum() / tau)
    return Robust(torch.stack(values), torch.stack(averages), torch.stack(slopes))


@pytest.mark.parametrize("path", ["plain", "stream"])
@pytest.mark.parametrize("hard", [False, True])
def test_both_sides_are_those_of_a_loop(path: str, hard: bool) -> None:
    a, p, h = numbers()
    with kernel_path(path, budget_bytes=2**10):
        found = robust_sentences(
            A, P, H if hard else None, **STATE, gamma=GAMMA, rho=RHO, texts=(a, p, h if hard else None)
        )
        wanted = [by_hand(side, hard) for side in (0, 1)]
        leaves = (A, P, H) if hard else (A, P)
        slopes = [
            torch.autograd.grad(sum(side.values.mean() for side in sides), leaves)
            for sides in (found, wanted)
        ]
    for mine, theirs in zip(found, wanted, strict=True):
        for name in FIELDS:
            torch.testing.assert_close(getattr(mine, name), getattr(theirs, name), msg=name)
    for mine, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, theirs)
    counted = robust_sentences(A, P, H if hard else None, **STATE, gamma=GAMMA, rho=RHO)
    assert not torch.allclose(found[0].values, counted[0].values)


def test_without_repeats_and_hard_negatives_it_is_the_contrast_of_two_modalities() -> None:
    found = robust_sentences(A, P, **STATE, gamma=GAMMA, rho=RHO)
    for side, (mine, theirs) in enumerate(((A, P), (P, A))):
        wanted = robust_pairs(
            mine, theirs, STATE["temperatures"][side], STATE["log_averages"][side], gamma=GAMMA, rho=RHO
        )
        for name in FIELDS:
            torch.testing.assert_close(getattr(found[side], name), getattr(wanted, name), msg=name)


def test_two_shares_are_the_whole() -> None:
    given = {"gamma": GAMMA, "rho": RHO, "texts": numbers()}
    whole = robust_sentences(A, P, H, **STATE, **given)
    parts = [
        robust_sentences(
            A[part], P[part], H[part], candidates=(A, P, H), offset=part.start, **given,
            **{name: tuple(each[part] for each in both) for name, both in STATE.items()},
        )
        for part in (slice(0, 3), slice(3, N))
    ]  # fmt: skip
    for side in (0, 1):
        for name in FIELDS:
            joined = torch.cat([getattr(part[side], name) for part in parts])
            torch.testing.assert_close(joined, getattr(whole[side], name), msg=name)


def test_order_does_not_matter() -> None:
    order = torch.tensor([3, 0, 6, 4, 1, 5, 2])
    one = robust_sentences(A, P, H, **STATE, texts=numbers())
    a, p, h = numbers()
    other = robust_sentences(
        A[order], P[order], H[order], texts=(a[order], p[order], h[order]),
        **{name: tuple(each[order] for each in both) for name, both in STATE.items()},
    )  # fmt: skip
    for side in (0, 1):
        torch.testing.assert_close(other[side].values, one[side].values[order])


def test_a_row_whose_keys_all_repeat_it_learns_nothing() -> None:
    same = torch.zeros(N, dtype=torch.long)
    found = robust_sentences(A, P, **STATE, texts=(same, same + 1, None))
    slopes = torch.autograd.grad(sum(side.values.sum() for side in found), (A, P))
    assert all(bool((slope.abs() < 1e-12).all()) for slope in slopes)
    assert all(bool(getattr(side, name).isfinite().all()) for side in found for name in FIELDS)


def test_small_temperatures_do_not_overflow_float32() -> None:
    tau, never = torch.full((N,), 0.002), torch.full((N,), -math.inf)
    leaves = [each.detach().float().requires_grad_() for each in (A, P, H)]
    found = robust_sentences(*leaves, temperatures=(tau, tau), log_averages=(never, never))
    slopes = torch.autograd.grad(sum(side.values.sum() for side in found), leaves)
    assert all(bool(slope.isfinite().all()) for slope in slopes)
    assert all(bool(side.log_average.isfinite().all()) for side in found)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(CounterpointError, match="robust_sentences: shapes .*expected anchors and positives"):
        robust_sentences(A, P, H[:3], **STATE)
    one = {name: tuple(each[:1] for each in both) for name, both in STATE.items()}
    with pytest.raises(CounterpointError, match="at least 2 instances"):
        robust_sentences(A[:1], P[:1], **one)
