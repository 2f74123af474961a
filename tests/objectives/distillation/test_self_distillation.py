"""Token divergences' surroundings and UniSD's parts: loops, gradcheck, extremes, invariances."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import CounterpointError
from counterpoint.kernels.divergence_rows import REVERSE, jsd
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.objectives.distillation.agreement import sequence_agreement, token_agreement
from counterpoint.objectives.distillation.clipping import adaptive_cap, clip
from counterpoint.objectives.distillation.divergence import (
    divergence,
    named_kind,
    sampled_reverse_kl,
    top_k_divergence,
)
from counterpoint.objectives.distillation.matching import feature_distance
from counterpoint.objectives.distillation.self_distillation import Mechanisms, self_distillation
from counterpoint.objectives.distillation.token_contrast import token_contrast
from counterpoint.objectives.tokens import aggregate

KINDS = [named_kind(n) for n in ("forward", "reverse", "tv", "jeffreys", "hellinger")] + [
    named_kind("jsd", 0.3), named_kind("skewed_forward", 0.1), named_kind("skewed_reverse", 0.1), named_kind("alpha", 1.5)
]  # fmt: skip


def logits(*shape: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loop(kind: object, s: list[float], t: list[float]) -> float:
    """The divergence of two probability rows, entry by entry."""
    kl = lambda p, q: sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q))  # noqa: E731
    x = kind.parameter
    mix = lambda share: [share * b + (1 - share) * a for a, b in zip(s, t)]  # noqa: E731
    return {
        "forward": lambda: kl(t, s),
        "reverse": lambda: kl(s, t),
        "tv": lambda: 0.5 * sum(abs(a - b) for a, b in zip(s, t)),
        "jeffreys": lambda: kl(t, s) + kl(s, t),
        "hellinger": lambda: 0.5 * sum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in zip(s, t)),
        "jsd": lambda: x * kl(t, mix(x)) + (1 - x) * kl(s, mix(x)),
        "skewed_forward": lambda: kl(t, mix(x)),
        "skewed_reverse": lambda: kl(s, mix(1 - x)),
        "alpha": lambda: (sum(b**x * a ** (1 - x) for a, b in zip(s, t)) - 1) / (x * (x - 1)),
    }[kind.name]()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_loop_gradcheck_and_fixed_point(kind: object) -> None:
    s, t = logits(3, 6), logits(3, 6, seed=1)
    rows = [loop(kind, (a / 1.7).softmax(-1).tolist(), (b / 1.7).softmax(-1).tolist()) for a, b in zip(s, t)]
    torch.testing.assert_close(
        divergence(s, t, kind, temperature=1.7),
        torch.tensor(rows, dtype=torch.float64),
        rtol=1e-10,
        atol=1e-13,
    )
    assert torch.autograd.gradcheck(
        lambda z: divergence(z, t, kind, temperature=1.7), (s.clone().requires_grad_(),)
    )
    z = t.clone().requires_grad_()
    value = divergence(z, t, kind)
    assert value.abs().max() < 1e-12
    if kind.name != "tv":
        assert torch.autograd.grad(value.sum(), z)[0].abs().max() < 1e-12
    z = s.clone().requires_grad_()
    assert (
        torch.autograd.grad(divergence(z, t, kind).sum(), z)[0].sum(-1).abs().max() < 1e-12
    )  # a shift of logits is free


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_of_ten_thousand(kind: object, dtype: torch.dtype) -> None:
    s = torch.tensor([[1e4, 0.0, -1e4], [1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    t = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 1.0]], dtype=dtype)
    value = divergence(s, t, kind)
    value.sum().backward()
    assert value.isfinite().all()
    assert s.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_top_k(kind: object) -> None:
    s, t = logits(4, 9), logits(4, 9, seed=1)
    full = divergence(s, t, kind)
    torch.testing.assert_close(top_k_divergence(s, t, 9, kind, rest="renormalise"), full)
    tails = torch.stack([top_k_divergence(s, t, k, kind) for k in range(1, 9)])
    assert (tails <= full + 1e-9).all()  # merging entries never raises an f-divergence
    assert torch.autograd.gradcheck(lambda z: top_k_divergence(z, t, 3, kind), (s.requires_grad_(),))


def test_sampled_reverse_kl_expected_gradient_is_exact() -> None:
    z, t = logits(1, 5).requires_grad_(), logits(1, 5, seed=1)
    expected = torch.autograd.grad(divergence(z, t, REVERSE).sum(), z)[0]
    p = z.detach().softmax(-1)
    total = torch.zeros_like(z)
    for y in range(5):
        ids = torch.tensor([y])
        loss = sampled_reverse_kl(log_probs(z, ids), log_probs(t, ids)).sum()
        total = total + p[0, y] * torch.autograd.grad(loss, z)[0]
    torch.testing.assert_close(total, expected)


def test_clipping_stops_the_gradient_above_the_cap_only() -> None:
    d = torch.tensor([[0.5, 3.0, 9.0]], requires_grad=True)
    clip(d, 2.0).sum().backward()
    assert d.grad.tolist() == [[1.0, 0.0, 0.0]]
    mask = torch.tensor([[1, 1, 0]])
    assert float(adaptive_cap(d, mask, 0.5)) == 1.75
    assert float(adaptive_cap(d, torch.zeros(1, 3), 0.5)) == math.inf
    assert float(adaptive_cap(torch.zeros(1, 2), torch.ones(1, 2), 0.5)) == pytest.approx(1e-6)


def test_token_agreement_loop() -> None:
    logp, mask = logits(3, 2, 4), torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    weights, spread = token_agreement(logp, mask, gamma=0.6, quantile=0.5, cap=1.5)
    flat = []
    for b in range(2):
        for t in range(4):
            x = logp[:, b, t].tolist()
            variance = sum((v - sum(x) / 3) ** 2 for v in x) / 2
            assert spread[b, t].item() == pytest.approx(variance)
            if mask[b, t]:
                flat.append(variance)
    flat.sort()
    unit = (flat[1] + flat[2]) / 2
    for b, t in mask.nonzero().tolist():
        expected = max(1 / (1 + 0.6 * min(spread[b, t].item() / unit, 1.5)), 0.01)
        assert weights[b, t].item() == pytest.approx(expected, rel=1e-6)
    assert token_agreement(logp, mask, gamma=1e9)[0].min() >= 0.01


def test_sequence_agreement_cancels_inside_a_sequence_and_acts_over_the_batch() -> None:
    logp, mask = logits(3, 2, 4), torch.ones(2, 4)
    values = logits(2, 4, seed=5).abs()
    found = {}
    for gamma in (1e-6, 2.0):
        weights, spread = sequence_agreement(logp, mask, gamma=gamma)
        found[gamma] = [
            aggregate(values, mask, how, weights_BT=4 * weights).mean()
            for how in ("sequence_mean", "token_mean")
        ]
    means = logp.mean(-1)
    torch.testing.assert_close(spread, means.var(0, correction=0))
    torch.testing.assert_close(found[1e-6][0], found[2.0][0])
    assert abs(found[1e-6][1] - found[2.0][1]) > 1e-3


def test_contrast_and_matching_loops() -> None:
    l, right, wrong = (logits(2, 3, seed=i) for i in range(3))
    expected = [
        [max(0.0, 0.5 + abs(a - b) - abs(a - c)) for a, b, c in zip(*rows)]
        for rows in zip(l.tolist(), right.tolist(), wrong.tolist())
    ]
    torch.testing.assert_close(token_contrast(l, right, wrong), torch.tensor(expected, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x: token_contrast(x, right, wrong), (l.requires_grad_(),))
    f, g = logits(2, 3, 4).requires_grad_(), logits(2, 3, 4, seed=1).requires_grad_()
    value = feature_distance(f, g)
    torch.testing.assert_close(value, ((f - g) ** 2).sum(-1) / 4)
    value.sum().backward()
    assert g.grad is None
    torch.testing.assert_close(feature_distance(f, g, mean=False), 4 * value)


def everything(seed: int = 0, rows: int = 4, tokens: int = 5) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, tokens + 1, (rows,), generator=g)
    return {
        "student": logits(rows, tokens, 6, seed=seed),
        "teacher": logits(rows, tokens, 6, seed=seed + 1),
        "negative": logits(rows, tokens, 6, seed=seed + 2),
        "ids_BT": torch.randint(0, 6, (rows, tokens), generator=g),
        "mask_BT": torch.arange(tokens) < lengths[:, None],
        "context_logp_KBT": -logits(3, rows, tokens, seed=seed + 3).abs(),
        "student_hidden_BTd": logits(rows, tokens, 4, seed=seed + 4),
        "teacher_hidden_BTd": logits(rows, tokens, 4, seed=seed + 5),
    }


ALL_ON = Mechanisms(
    kind=jsd(0.4),
    cap=2.0,
    agreement="sequence",
    gamma=0.5,
    normalise="batch",
    contrast_weight=0.3,
    match_weight=0.2,
)


@given(seed=st.integers(0, 60))
@settings(max_examples=20, deadline=None)
def test_whole_loss_under_permutation_and_ragged_split(seed: int) -> None:
    data = everything(seed)
    pick = lambda w: {k: v[:, w] if k == "context_logp_KBT" else v[w] for k, v in data.items()}  # noqa: E731

    def run(d):
        return self_distillation(
            d.pop("student"), d.pop("teacher"), d.pop("ids_BT"), d.pop("mask_BT"), ALL_ON, **d
        )

    whole = run(dict(data))
    assert set(whole) == {"distil", "contrast", "match"}
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    moved, parts = run(pick(order)), [run(pick(torch.tensor(w))) for w in ([0], [1, 2, 3])]
    for name, term in whole.items():
        torch.testing.assert_close(moved[name].values, term.values[order], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(
            torch.cat([p[name].values for p in parts]), term.values, rtol=1e-12, atol=1e-14
        )


@pytest.mark.parametrize("agreement", ["none", "token", "sequence"])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_all_masked_is_zero_with_a_graph(agreement: str, share: float) -> None:
    data = everything(rows=2)
    data["mask_BT"] = torch.zeros(2, 5, dtype=torch.bool)
    student = data.pop("student").requires_grad_()
    on = Mechanisms(
        agreement=agreement, entropy_share=share, cap_quantile=0.9, contrast_weight=0.1, match_weight=0.1
    )
    terms = self_distillation(
        student, data.pop("teacher"), data.pop("ids_BT"), data.pop("mask_BT"), on, **data
    )
    loss = sum(t.mean() for t in terms.values())
    loss.backward()
    assert loss.item() == 0.0
    assert (student.grad == 0).all()
    assert all(s.isfinite().all() or "cap" in t.stats for t in terms.values() for s in t.stats.values())


def test_entropy_share_keeps_the_denominator() -> None:
    data = everything(rows=1)
    data["mask_BT"] = torch.ones(1, 5, dtype=torch.bool)
    args = [data[k] for k in ("student", "teacher", "ids_BT", "mask_BT")]
    d = divergence(args[0], args[1], "forward", temperature=0.7)
    p = (args[0] / 0.7).softmax(-1)
    keep = (-(p * p.log()).sum(-1))[0].argsort(descending=True)[:2]
    got = self_distillation(*args, Mechanisms(entropy_share=0.4))["distil"].mean()
    torch.testing.assert_close(got, d[0, keep].sum() / 5)


def test_matching_alone_replaces_the_divergence() -> None:
    data = everything()
    terms = self_distillation(
        *(data.pop(k) for k in ("student", "teacher", "ids_BT", "mask_BT")),
        Mechanisms(match_only=True),
        **data,
    )
    assert list(terms) == ["match"]
    assert terms["match"].weight == 1.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda d: named_kind("kl"), "no divergence"),
        (lambda d: named_kind("jsd"), "parameter"),
        (lambda d: named_kind("forward", 0.5), "no parameter"),
        (lambda d: token_agreement(torch.zeros(1, 2, 2), torch.ones(2, 2)), "at least 2"),
        (lambda d: feature_distance(torch.zeros(1, 1, 2), torch.zeros(1, 1, 3)), "projection"),
        (lambda d: self_distillation(*d, Mechanisms(contrast_weight=1.0)), "negative"),
        (lambda d: self_distillation(*d, Mechanisms(match_weight=1.0)), "hidden"),
        (lambda d: self_distillation(*d, Mechanisms(agreement="token")), "context"),
    ],
)
def test_errors_teach(call: object, says: str) -> None:
    data = everything()
    with pytest.raises(CounterpointError, match=says):
        call([data[k] for k in ("student", "teacher", "ids_BT", "mask_BT")])


def test_the_contrast_sends_no_gradient_into_the_teachers():
    mine, right, wrong = (torch.full((2, 3), value, requires_grad=True) for value in (-1.0, -0.5, -2.0))
    token_contrast(mine, right, wrong, margin=5.0).sum().backward()
    assert mine.grad.tolist() == [[-2.0] * 3] * 2
    assert right.grad is None
    assert wrong.grad is None
