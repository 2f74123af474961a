"""The primer's losses: naive loops, gradients, masks, extremes, invariances. Vectors are tested beside the vectors."""

import math

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.objectives.contrast import margins, noise_contrast
from counterpoint.objectives.contrast.noise_contrast import LOSSES, scored_contrast
from counterpoint.objectives.contrast.view_contrast import VIEWED, view_contrast
from counterpoint.objectives.labels.label_match import label_match


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def loop(name: str, s: float, negatives: list[float], q: float, qs: list[float], tau: float) -> float:
    """One item, in plain Python."""
    if name in ("ranking_nce", "infonce"):
        if name == "ranking_nce":
            s, negatives, tau = s - q, [n - k for n, k in zip(negatives, qs, strict=True)], 1.0
        top = max([s, *negatives]) / tau
        return -s / tau + top + math.log(sum(math.exp(x / tau - top) for x in [s, *negatives]))
    if name == "binary_nce":
        shift = math.log(len(negatives))
        s, negatives = s - q - shift, [n - k - shift for n, k in zip(negatives, qs, strict=True)]
    if name in ("binary_nce", "negative_sampling"):
        return softplus(-s) + sum(softplus(n) for n in negatives)
    worst = max(negatives)
    return {
        "ebm_hinge": max(0.0, 1 - s + worst),
        "ebm_log": softplus(worst - s),
        "ebm_square_square": s**2 + max(0.0, 1 + worst) ** 2,
    }[name]


def draws(seed: int = 0, items: int = 4, k: int = 5) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    s, n = (torch.randn(*size, generator=g, dtype=torch.float64) for size in ((items,), (items, k)))
    q, qs = (-torch.rand(*size, generator=g, dtype=torch.float64) * 3 for size in ((items,), (items, k)))
    return s, n, q, qs


@pytest.mark.parametrize("name", LOSSES)
def test_against_plain_loops_with_and_without_left_out_negatives(name):
    s, n, q, qs = draws()
    valid = torch.rand(n.shape, generator=torch.Generator().manual_seed(3)) < 0.6
    valid[:, 0] = True
    for mask in (None, valid):
        found = scored_contrast(name, s, n, log_noise=(q, qs), temperature=0.3, valid=mask)
        for i in range(len(s)):
            keep = torch.ones(n.shape[1], dtype=torch.bool) if mask is None else mask[i]
            expected = loop(name, s[i].item(), n[i][keep].tolist(), q[i].item(), qs[i][keep].tolist(), 0.3)
            assert found[i].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_and_order(name):
    s, n, q, qs = draws(1)
    s.requires_grad_(), n.requires_grad_()
    valid = torch.ones_like(n, dtype=torch.bool)
    valid[0, 1:3] = False

    def loss(a, b):
        return scored_contrast(name, a, b, log_noise=(q, qs), temperature=0.3, valid=valid)

    assert torch.autograd.gradcheck(loss, (s, n))
    loss(s, n).sum().backward()
    assert not n.grad[0, 1:3].any()
    order = torch.tensor([4, 2, 0, 1, 3])
    shuffled = scored_contrast(
        name, s, n[:, order], log_noise=(q, qs[:, order]), temperature=0.3, valid=valid[:, order]
    )
    torch.testing.assert_close(shuffled, loss(s, n))
    more = scored_contrast(name, s.double(), n, log_noise=(q, qs), temperature=0.3)
    rise = torch.autograd.grad(more.sum(), s)[0]
    assert name == "ebm_square_square" or (rise <= 0).all()  # a better positive never costs


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extremes_stay_finite(name, size):
    s = torch.tensor([size, 0.0], requires_grad=True)
    n = torch.tensor([[-size, 0.0], [size, 1.0]], requires_grad=True)
    noise = torch.zeros(2), torch.zeros(2, 2)
    losses = scored_contrast(name, s, n, log_noise=noise, temperature=0.1)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert torch.isfinite(s.grad).all()
    assert torch.isfinite(n.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_without_any_valid_negative_only_the_positive_counts(name):
    s = torch.tensor([0.5], requires_grad=True)
    n = torch.tensor([[3.0, 4.0]], requires_grad=True)
    found = scored_contrast(
        name, s, n, log_noise=(torch.zeros(1), torch.zeros(1, 2)), valid=torch.zeros(1, 2, dtype=torch.bool)
    )
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(s.grad).all()
    assert not n.grad.any()
    alone = {
        "negative_sampling": softplus(-0.5),
        "binary_nce": softplus(-0.5),
        "ebm_square_square": 0.25,
    }
    assert found.item() == pytest.approx(alone.get(name, 0.0))


def test_several_positives_share_negatives():
    g = torch.Generator().manual_seed(0)
    s, n = torch.randn(3, 2, generator=g), torch.randn(3, 4, generator=g)
    together = noise_contrast.infonce(s, n[:, None])
    for column in range(2):
        torch.testing.assert_close(together[:, column], noise_contrast.infonce(s[:, column], n))


def test_the_optimum_of_negative_sampling_is_shifted_by_log_k():
    """Two answers of probability p and 1 - p, K drawn uniformly: s = log p/q - log K makes the gradient vanish."""
    p, k = torch.tensor([0.8, 0.2], dtype=torch.float64), 3
    s = (p / 0.5).log() - math.log(k)
    s.requires_grad_()
    expected = (p * torch.nn.functional.softplus(-s)).sum() + k * (
        0.5 * torch.nn.functional.softplus(s)
    ).sum()
    assert torch.autograd.grad(expected, s)[0].abs().max() < 1e-12
    drawn = torch.stack([p[a] * 0.5**k * noise_contrast.negative_sampling(s[a], s[list(b)])
                         for a in (0, 1) for b in torch.cartesian_prod(*[torch.arange(2)] * k).tolist()])  # fmt: skip
    torch.testing.assert_close(drawn.sum(), expected)


@pytest.mark.parametrize(
    ("call", "lesson"),
    [
        (lambda: scored_contrast("info_nce", torch.ones(1), torch.ones(1, 1)), "did you mean 'infonce'"),
        (
            lambda: scored_contrast("binary_nce", torch.ones(1), torch.ones(1, 1)),
            "negative_sampling, which does not",
        ),
        (lambda: scored_contrast("infonce", torch.ones(1), torch.ones(1, 0)), "no negatives"),
        (lambda: view_contrast("ntxnet", torch.eye(2), torch.eye(2)), "did you mean 'ntxent'"),
        (lambda: view_contrast("supcon", torch.eye(2), torch.eye(2)), "groups"),
        (lambda: view_contrast("oneway", torch.ones(1, 2), torch.ones(1, 2)), "batch of 1"),
        (lambda: margins.row_triplet(torch.eye(2), torch.eye(3), torch.eye(2)), "one shape"),
        (lambda: label_match(torch.ones(2, 3), torch.ones(2, 2)), r"expected \[B, A\]"),
    ],
)
def test_wrong_input_teaches(call, lesson):
    with pytest.raises(CounterpointError, match=lesson):
        call()


def test_label_match_against_a_loop():
    g = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 4, generator=g, dtype=torch.float64, requires_grad=True)
    targets = (torch.rand(3, 4, generator=g) < 0.4).double()
    valid = torch.rand(3, 4, generator=g) < 0.7
    valid[2] = False
    found = label_match(scores, targets, valid, positive_weight=10.0)
    total, texts = 0.0, 0
    for i in range(3):
        own = [
            10.0 * softplus(-scores[i, a].item()) if targets[i, a] else softplus(scores[i, a].item())
            for a in range(4)
            if valid[i, a]
        ]
        total, texts = total + (sum(own) / len(own) if own else 0.0), texts + bool(own)
    assert found.mean().item() == pytest.approx(total / texts)
    assert torch.autograd.gradcheck(lambda s: label_match(s, targets, valid, 10.0).mean(), scores)
    found.mean().backward()
    assert not scores.grad[2].any()
    assert torch.isfinite(label_match(torch.full((1, 2), 1e4), torch.tensor([[0.0, 1.0]])).values).all()


def rows(seed: int = 0, n: int = 6, d: int = 4) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2)]


@pytest.mark.parametrize("name", VIEWED)
def test_view_losses_split_over_processes_and_have_right_gradients(name):
    first, second = rows()
    groups = torch.tensor([0, 1, 0, 2, 1, 3])
    options = {"temperature": 0.5, "margin": 0.7, "step": 2}
    whole = view_contrast(name, first, second, groups=groups, **options)
    assert torch.autograd.gradcheck(
        lambda a, b: view_contrast(name, a, b, groups=groups, **options).mean(), (first, second)
    )
    parts = [
        view_contrast(
            name, first[part], second[part], groups=groups[part], candidates=(first, second),
            candidate_groups=groups, offset=part.start, **options,
        )
        for part in (slice(0, 2), slice(2, 6))
    ]  # fmt: skip
    torch.testing.assert_close(torch.cat([part.values for part in parts]), whole.values)


@pytest.mark.parametrize("name", ["pair_margin", "triplet_l2", "triplet_cos", "n_pair"])
def test_view_losses_against_loops(name):
    first, second = rows(1)
    found = view_contrast(name, first, second, margin=0.7, step=2).values
    a, b = first.detach().tolist(), second.detach().tolist()

    def dot(x, y):
        return sum(p * q for p, q in zip(x, y, strict=True))

    def gap(x, y):
        return math.dist(x, y)

    def cos(x, y):
        return dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))

    for i in range(6):
        j = (i + 2) % 6
        expected = {
            "pair_margin": (gap(a[i], b[i]) ** 2 + max(0.0, 0.7 - gap(a[i], b[j])) ** 2) / 2,
            "triplet_l2": max(0.0, gap(a[i], b[i]) - gap(a[i], b[j]) + 0.7),
            "triplet_cos": max(0.0, cos(a[i], b[j]) - cos(a[i], b[i]) + 0.7),
            "n_pair": math.log(
                1 + sum(math.exp(dot(a[i], b[k]) - dot(a[i], b[i])) for k in range(6) if k != i)
            ),
        }[name]
        assert found[i].item() == pytest.approx(expected, rel=1e-10)


def test_equal_rows_have_no_undefined_gradient():
    a = torch.ones(2, 3, requires_grad=True)
    (margins.pair_margin(a, a, torch.tensor([0, 1])) + margins.row_triplet(a, a, a)).sum().backward()
    assert torch.isfinite(a.grad).all()
    zero = torch.zeros(2, 3, requires_grad=True)
    margins.row_triplet(zero, zero, zero, distance="cosine").sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_n_pair_survives_large_products():
    z = torch.full((3, 2), 30.0) * torch.tensor([[1.0], [2.0], [-3.0]])
    assert torch.isfinite(view_contrast("n_pair", z, z).values).all()
