"""Losses over labelled rows: naive float64 loops, gradients, invariances, extremes, shards equal to the whole."""

import math
from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import kernel_path
from counterpoint.objectives.labels import pairwise, proxy, supervised
from counterpoint.objectives.labels.triplet import triplet
from counterpoint.objectives.reduction import Loss, nonzero_mean, total

TAU = 0.3
Pairs = list[tuple[int, int]]


def rows(n: int = 9, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3, 2, 1])  # class 3 is a singleton


def similarities(z: Tensor) -> list[list[Tensor]]:
    lengths = [sum(x * x for x in row) ** 0.5 for row in z]
    u = [[x / length for x in row] for row, length in zip(z, lengths)]
    return [[sum(x * y for x, y in zip(a, b)) for b in u] for a in u]


def positives(y: Tensor, i: int) -> list[int]:
    return [p for p in range(len(y)) if p != i and y[p] == y[i]]


def negatives(y: Tensor, i: int) -> list[int]:
    return [k for k in range(len(y)) if y[k] != y[i]]


# Naive loops: the second definition of each loss, term by term, reduced to the number its page states


def naive_supcon(z: Tensor, y: Tensor, inside: bool, drop: bool = False) -> Tensor:
    s, losses = similarities(z), []
    for i in range(len(y)):
        mine = positives(y, i)
        if not mine:
            losses += [] if drop else [torch.zeros((), dtype=z.dtype)]
            continue
        below = sum(torch.exp(s[i][a] / TAU) for a in range(len(y)) if a != i)
        if inside:
            losses.append(-torch.log(sum(torch.exp(s[i][p] / TAU) for p in mine) / len(mine) / below))
        else:
            losses.append(-sum(torch.log(torch.exp(s[i][p] / TAU) / below) for p in mine) / len(mine))
    return sum(losses) / len(losses)


def naive_nt_xent_pairs(z: Tensor, y: Tensor) -> Tensor:
    s, losses = similarities(z), []
    for i in range(len(y)):
        for p in positives(y, i):
            up = torch.exp(s[i][p] / TAU)
            losses.append(-torch.log(up / (up + sum(torch.exp(s[i][k] / TAU) for k in negatives(y, i)))))
    return sum(losses) / len(losses)


def naive_n_pairs(z: Tensor, y: Tensor) -> Tensor:
    s = similarities(z)
    firsts = [[i for i in range(len(y)) if y[i] == c][:2] for c in sorted(set(y.tolist()))]
    firsts = [pair for pair in firsts if len(pair) == 2]
    losses = [-torch.log(torch.exp(s[a][p]) / sum(torch.exp(s[a][q]) for _, q in firsts)) for a, p in firsts]
    return sum(losses) / len(losses)


def naive_multi_similarity(z: Tensor, y: Tensor, epsilon: float | None = None) -> Tensor:
    s, value = similarities(z), torch.zeros((), dtype=z.dtype)
    for i in range(len(y)):
        mine, other = positives(y, i), negatives(y, i)
        if epsilon is not None:
            if mine and other:
                far, near = min(s[i][p] for p in mine), max(s[i][k] for k in other)
                mine = [p for p in mine if s[i][p] - epsilon < near]
                other = [k for k in other if s[i][k] + epsilon > far]
            else:
                mine, other = [], []
        value = (
            value + torch.log(1 + sum((torch.exp(-2 * (s[i][p] - 0.5)) for p in mine), z.new_zeros(()))) / 2
        )
        value = (
            value + torch.log(1 + sum((torch.exp(10 * (s[i][k] - 0.5)) for k in other), z.new_zeros(()))) / 10
        )
    return value / len(y)


def naive_circle(z: Tensor, y: Tensor) -> Tensor:
    s, losses, m, gamma = similarities(z), [], 0.4, 8.0
    for i in range(len(y)):
        mine, other = positives(y, i), negatives(y, i)
        if mine and other:
            up = sum(torch.exp(-gamma * max(1 + m - s[i][p].item(), 0) * (s[i][p] - (1 - m))) for p in mine)
            down = sum(torch.exp(gamma * max(s[i][k].item() + m, 0) * (s[i][k] - m)) for k in other)
            losses.append(torch.log(1 + up * down))
    return sum(losses) / len(losses)


def gap(s: Tensor) -> Tensor:
    return (2 - 2 * s).sqrt()


def naive_lifted(z: Tensor, y: Tensor) -> Tensor:
    s, value = similarities(z), torch.zeros((), dtype=z.dtype)
    for i in range(len(y)):
        mine, other = positives(y, i), negatives(y, i)
        term = torch.zeros((), dtype=z.dtype)
        if mine:
            term = term + torch.log(sum(torch.exp(gap(s[i][p])) for p in mine))
        if other:
            term = term + torch.log(sum(torch.exp(1 - gap(s[i][k])) for k in other))
        value = value + torch.clamp(term, min=0)
    return value / len(y)


def naive_contrastive(z: Tensor, y: Tensor) -> Tensor:
    s = similarities(z)
    n = range(len(y))
    up = [gap(s[i][p]) - 0.1 for i in n for p in positives(y, i)]
    down = [1.2 - gap(s[i][k]) for i in n for k in negatives(y, i)]
    sides = [[value for value in side if value > 0] for side in (up, down)]
    return sum((sum(side) / len(side) for side in sides if side), torch.zeros((), dtype=z.dtype))


def naive_triplet(
    z: Tensor,
    y: Tensor,
    mining: str = "all",
    swap: bool = False,
    average: str = "active",
    squared: bool = False,
) -> Tensor:
    s, values = similarities(z), []
    far = (lambda x: 2 - 2 * x) if squared else gap
    for i in range(len(y)):
        mine, other = positives(y, i), negatives(y, i)
        pairs: Pairs = list(product(mine, other))
        if mining == "hard":
            pairs = (
                [(min(mine, key=lambda p: s[i][p].item()), max(other, key=lambda k: s[i][k].item()))]
                if pairs
                else []
            )
        for p, q in pairs:
            d_ap, d_aq = far(s[i][p]), far(s[i][q])
            if swap:
                d_aq = torch.minimum(d_aq, far(s[p][q]))
            if mining == "semihard" and not 0 < d_aq - d_ap <= 0.2:
                continue
            values.append(torch.clamp(d_ap - d_aq + 0.2, min=0))
    if average == "active":
        values = [value for value in values if value > 0]
    return sum(values) / len(values)


LOSSES: dict[str, tuple[Callable[..., Loss | dict[str, Loss]], Callable[[Tensor, Tensor], Tensor]]] = {
    "supcon_out": (partial(supervised.supcon_out, temperature=TAU), partial(naive_supcon, inside=False)),
    "supcon_out_nonzero": (
        lambda z, y, **k: nonzero_mean(supervised.supcon_out(z, y, temperature=TAU, **k)),
        partial(naive_supcon, inside=False, drop=True),
    ),
    "supcon_in": (partial(supervised.supcon_in, temperature=TAU), partial(naive_supcon, inside=True)),
    "nt_xent_pairs": (partial(supervised.nt_xent_pairs, temperature=TAU), naive_nt_xent_pairs),
    "n_pairs": (supervised.n_pairs, naive_n_pairs),
    "multi_similarity": (partial(pairwise.multi_similarity, beta=10.0), naive_multi_similarity),
    "multi_similarity_mined": (
        partial(pairwise.multi_similarity, beta=10.0, epsilon=0.1),
        partial(naive_multi_similarity, epsilon=0.1),
    ),
    "circle": (partial(pairwise.circle, gamma=8.0), naive_circle),
    "generalized_lifted": (pairwise.generalized_lifted, naive_lifted),
    "contrastive_pair": (
        partial(pairwise.contrastive_pair, positive_margin=0.1, negative_margin=1.2),
        naive_contrastive,
    ),
    "triplet": (partial(triplet, margin=0.2), naive_triplet),
    "triplet_squared_all": (
        partial(triplet, margin=0.2, distance="squared", average="all"),
        partial(naive_triplet, squared=True, average="all"),
    ),
    "triplet_hard": (partial(triplet, margin=0.2, mining="hard"), partial(naive_triplet, mining="hard")),
    "triplet_hard_swap": (
        partial(triplet, margin=0.2, mining="hard", swap=True),
        partial(naive_triplet, mining="hard", swap=True),
    ),
    "triplet_semihard": (
        partial(triplet, margin=0.2, mining="semihard"),
        partial(naive_triplet, mining="semihard"),
    ),
    "triplet_swap": (partial(triplet, margin=0.2, swap=True), partial(naive_triplet, swap=True)),
}
NAMES = sorted(LOSSES)
PATHS = ("plain", "stream")


def mean(result: Loss | dict[str, Loss]) -> Tensor:
    return total(result if isinstance(result, dict) else {"loss": result})


def value_and_gradient(
    loss: Callable[[Tensor, Tensor], Tensor], z: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    leaf = z.clone().requires_grad_()
    value = loss(leaf, y)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_naive_loop_in_value_and_gradient(name: str, path: str) -> None:
    loss, naive = LOSSES[name]
    expected, expected_gradient = value_and_gradient(naive, rows(), LABELS)
    with kernel_path(path, budget_bytes=2**10):
        value, gradient = value_and_gradient(lambda z, y: mean(loss(z, y)), rows(), LABELS)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "name", [name for name in NAMES if name != "circle"]
)  # its weights are constants by definition
def test_gradcheck(name: str, path: str) -> None:
    z = rows(6, 3, seed=3).requires_grad_()
    y = torch.tensor([0, 1, 0, 1, 2, 0])
    with kernel_path(path, budget_bytes=2**10):
        assert torch.autograd.gradcheck(
            lambda z: mean(LOSSES[name][0](z, y)), [z], eps=1e-7, atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("name", NAMES)
def test_row_order_does_not_matter(name: str) -> None:
    z, loss = rows(), LOSSES[name][0]
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(5))
    if (
        name == "n_pairs"
    ):  # takes each class's first rows: permute classes as blocks, keeping the order inside
        order = torch.cat([(c == LABELS).nonzero().squeeze(1) for c in (2, 0, 3, 1)])
    value, gradient = value_and_gradient(lambda z, y: mean(loss(z, y)), z, LABELS)
    moved, moved_gradient = value_and_gradient(lambda z, y: mean(loss(z, y)), z[order], LABELS[order])
    torch.testing.assert_close(moved, value)
    torch.testing.assert_close(moved_gradient, gradient[order])


@pytest.mark.parametrize("name", NAMES)
def test_length_does_not_matter_and_the_gradient_is_orthogonal(name: str) -> None:
    z, loss = rows(), LOSSES[name][0]
    value, gradient = value_and_gradient(lambda z, y: mean(loss(z, y)), z, LABELS)
    longer = torch.linspace(0.5, 3, len(z), dtype=z.dtype)[:, None]
    torch.testing.assert_close(mean(loss(z * longer, LABELS)), value)
    torch.testing.assert_close((gradient * z).sum(1), torch.zeros(len(z), dtype=z.dtype), atol=1e-10, rtol=0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", NAMES)
def test_shards_with_gathered_candidates_equal_the_whole(name: str, path: str) -> None:
    """Two ranks, 4 and 5 rows: sums and counts add to the single process's, gradients of the gathered rows add too."""
    loss = LOSSES[name][0]
    whole = rows().requires_grad_()
    mean(loss(whole, LABELS)).backward()

    parts = rows().requires_grad_()
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    with kernel_path(path, budget_bytes=2**10):
        for start, end in ((0, 4), (4, 9)):
            result = loss(
                parts[start:end], LABELS[start:end], candidates=parts, candidate_labels=LABELS, offset=start
            )
            for term, part in (result if isinstance(result, dict) else {"loss": result}).items():
                count = part.values.new_ones(len(part.values)) if part.counts is None else part.counts
                sums[term] = sums.get(term, 0) + part.values.sum()
                counts[term] = counts.get(term, 0) + count.sum()
    value = sum(sums[term] / counts[term] for term in sums)
    value.backward()
    torch.testing.assert_close(value, mean(loss(whole, LABELS)))
    torch.testing.assert_close(parts.grad, whole.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "labels",
    [[0], [0, 0], [0, 1], [0, 1, 2, 3], [0, 0, 0, 0], [0, 0, 1, 2]],
    ids=["one", "pair", "two", "singletons", "one class", "one pair"],
)
def test_degenerate_batches_stay_finite_and_say_so(name: str, labels: list[int], path: str) -> None:
    z, y = rows(len(labels)).requires_grad_(), torch.tensor(labels)
    with kernel_path(path, budget_bytes=2**10):
        result = LOSSES[name][0](z, y)
    value = mean(result)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()
    stats = (next(iter(result.values())) if isinstance(result, dict) else result).stats
    assert stats["has_positive"].tolist() == [float(labels.count(label) > 1) for label in labels]
    assert stats["has_negative"].tolist() == [float(labels.count(label) < len(labels)) for label in labels]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["supcon_out", "supcon_in", "nt_xent_pairs", "n_pairs"])
def test_without_any_positive_the_loss_and_its_gradient_are_zero(name: str, path: str) -> None:
    z = rows(5).requires_grad_()
    with kernel_path(path, budget_bytes=2**10):
        value = mean(LOSSES[name][0](z, torch.arange(5)))
    value.backward()
    assert value == 0
    assert not z.grad.any()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "loss",
    [
        partial(supervised.supcon_out, temperature=1e-4),
        partial(supervised.supcon_in, temperature=1e-4),
        partial(supervised.nt_xent_pairs, temperature=1e-4),
        partial(pairwise.multi_similarity, alpha=1e4, beta=1e4),
        partial(pairwise.circle, gamma=1e4),
    ],
)
def test_logits_of_ten_thousand(loss: Callable[..., Loss], dtype: torch.dtype, path: str) -> None:
    z = rows().to(dtype).requires_grad_()
    with kernel_path(path, budget_bytes=2**10):
        value = loss(z, LABELS).mean()
    value.backward()
    assert torch.isfinite(value)
    assert value > 0
    assert torch.isfinite(z.grad).all()
    assert z.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_equal_rows_have_a_finite_gradient(name: str) -> None:
    z = rows().index_copy(0, torch.tensor([2]), rows()[:1]).requires_grad_()
    mean(LOSSES[name][0](z, LABELS)).backward()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_agrees(name: str) -> None:
    loss = LOSSES[name][0]
    value, gradient = value_and_gradient(lambda z, y: mean(loss(z, y)), rows(), LABELS)
    single, single_gradient = value_and_gradient(lambda z, y: mean(loss(z, y)), rows().float(), LABELS)
    torch.testing.assert_close(single.double(), value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(single_gradient.double(), gradient, rtol=1e-4, atol=1e-5)


def test_base_temperature_multiplies_by_the_ratio() -> None:
    plain = supervised.supcon_out(rows(), LABELS, temperature=0.1).values
    scaled = supervised.supcon_out(rows(), LABELS, temperature=0.1, base_temperature=0.07).values
    torch.testing.assert_close(scaled, plain / 0.7)


def test_in_is_never_above_out_and_equal_with_one_positive() -> None:
    out = supervised.supcon_out(rows(), LABELS, temperature=TAU).values
    inside = supervised.supcon_in(rows(), LABELS, temperature=TAU).values
    assert (inside <= out + 1e-12).all()
    single = LABELS == 2
    torch.testing.assert_close(inside[single], out[single])


def test_temperature_per_anchor() -> None:
    taus = torch.linspace(0.1, 0.5, len(LABELS), dtype=torch.float64)
    together = supervised.supcon_out(rows(), LABELS, temperature=taus).values
    alone = [
        supervised.supcon_out(rows(), LABELS, temperature=tau.item()).values[i] for i, tau in enumerate(taus)
    ]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize("form", ["out", "in"])
@pytest.mark.parametrize("contrast", ["all", "one"])
@pytest.mark.parametrize("labelled", [True, False])
def test_views_in_shards_equal_the_whole(form: str, contrast: str, labelled: bool) -> None:
    z = rows(6 * 3, 4).view(6, 3, 4).requires_grad_()
    y = torch.tensor([0, 1, 0, 2, 1, 3]) if labelled else None
    settings = {"form": form, "contrast": contrast, "temperature": TAU}
    whole = supervised.supcon_views(z, y, **settings).values
    parts = []
    for start, end in ((0, 2), (2, 6)):
        part = supervised.supcon_views(
            z[start:end],
            None if y is None else y[start:end],
            candidates=z,
            candidate_labels=y,
            offset=start,
            **settings,
        )
        parts.append(part.values)
    torch.testing.assert_close(torch.cat(parts), whole)
    gradients = [torch.autograd.grad(v.mean(), z, retain_graph=True)[0] for v in (whole, torch.cat(parts))]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_one_view_of_anchors_is_the_first_views_mean() -> None:
    z = rows(10, 4).view(5, 2, 4)
    flat = z.transpose(0, 1).reshape(10, 4)
    every = supervised.supcon_out(flat, torch.arange(5).repeat(2), temperature=TAU).values
    one = supervised.supcon_views(z, contrast="one", temperature=TAU).values
    torch.testing.assert_close(one, every[:5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: supervised.supcon_out(rows(), LABELS[:3]), "one label per row"),
        (lambda: supervised.supcon_out(rows(), LABELS, temperature=0.0), "above 0"),
        (lambda: supervised.supcon_out(rows(), LABELS, candidates=rows()), "go together"),
        (
            lambda: supervised.supcon_out(
                rows()[:3], LABELS[:3], candidates=rows(), candidate_labels=LABELS, offset=8
            ),
            "offset",
        ),
        (
            lambda: supervised.supcon_out(
                rows()[:3], LABELS[:3], candidates=rows(), candidate_labels=LABELS, offset=1
            ),
            "differ",
        ),
        (lambda: supervised.supcon_views(rows()), "samples, views"),
        (lambda: supervised.supcon_views(rows()[:, None], form="inn"), "did you mean 'in'"),
        (lambda: triplet(rows(), LABELS, mining="hardest"), "did you mean 'hard'"),
    ],
)
def test_wrong_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        call()


# Proxies

PROXIES = rows(5, 4, seed=9)  # class 4 has no row


def naive_softmax(
    z: Tensor, y: Tensor, w: Tensor, logit: Callable[[Tensor], Tensor], keep_own: bool = True
) -> Tensor:
    s, losses = torch.stack([torch.nn.functional.cosine_similarity(z, v[None]) for v in w], 1), []
    for i in range(len(y)):
        below = sum(torch.exp(logit(s[i, c])) for c in range(len(w)) if keep_own or c != y[i])
        losses.append(-torch.log(torch.exp(logit(s[i, y[i]])) / below))
    return sum(losses) / len(losses)


def naive_proxy_anchor(z: Tensor, y: Tensor, w: Tensor) -> Tensor:
    s = torch.stack([torch.nn.functional.cosine_similarity(z, v[None]) for v in w], 1)
    present = sorted(set(y.tolist()))
    up = sum(
        torch.log(1 + sum(torch.exp(-8 * (s[i, c] - 0.1)) for i in range(len(y)) if y[i] == c))
        for c in present
    )
    down = sum(
        torch.log(1 + sum(torch.exp(8 * (s[i, c] + 0.1)) for i in range(len(y)) if y[i] != c))
        for c in range(len(w))
    )
    return up / len(present) + down / len(w)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("loss", "naive"),
    [
        (
            partial(proxy.normalized_softmax, temperature=0.2),
            lambda z, y, w: naive_softmax(z, y, w, lambda s: s / 0.2),
        ),
        (
            partial(proxy.proxy_nca, softmax_scale=3.0),
            lambda z, y, w: naive_softmax(z, y, w, lambda s: -3 * (2 - 2 * s)),
        ),
        (
            partial(proxy.proxy_nca, softmax_scale=3.0, decoupled=True),
            lambda z, y, w: naive_softmax(z, y, w, lambda s: -3 * (2 - 2 * s), keep_own=False),
        ),
        (partial(proxy.proxy_anchor, alpha=8.0), naive_proxy_anchor),
    ],
    ids=["normalized_softmax", "proxy_nca", "proxy_nca_decoupled", "proxy_anchor"],
)
def test_proxy_losses_equal_the_naive_loop(loss: Callable, naive: Callable, path: str) -> None:
    results = []
    for function in (naive, loss):
        z, w = rows().requires_grad_(), PROXIES.clone().requires_grad_()
        with kernel_path(path, budget_bytes=2**10):
            result = function(z, LABELS, w)
        value = result if function is naive else mean({"loss": result})
        value.backward()
        results.append((value.detach(), z.grad, w.grad))
    for expected, actual in zip(*results):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_soft_triple_with_one_centre_is_the_normalised_softmax() -> None:
    soft = proxy.soft_triple(rows(), LABELS, PROXIES[:, None], la=5.0, margin=0.0)
    torch.testing.assert_close(soft, proxy.normalized_softmax(rows(), LABELS, PROXIES, temperature=0.2))
    z, w = rows(4).requires_grad_(), rows(6, 4, seed=2).view(3, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z, w: proxy.soft_triple(z, torch.tensor([0, 1, 1, 2]), w, la=3.0), [z, w]
    )


def test_proxy_anchor_on_every_rank_counts_classes_once() -> None:
    """Every rank computes all classes on the gathered rows: sums and counts both double, the loss stays."""
    loss = proxy.proxy_anchor(rows(), LABELS, PROXIES)
    assert loss.counts is None
    assert len(loss.values) == len(PROXIES)
    assert loss.stats["present"].tolist() == [1, 1, 1, 1, 0]


def test_proxy_losses_at_extreme_scales() -> None:
    for loss in (
        proxy.normalized_softmax(rows().float(), LABELS, PROXIES.float(), temperature=1e-4),
        proxy.proxy_anchor(rows().float(), LABELS, PROXIES.float(), alpha=1e4).values,
        proxy.soft_triple(rows().float(), LABELS, PROXIES.float()[:, None], la=1e4, gamma=1e-4),
    ):
        assert torch.isfinite(loss).all()
        assert not math.isnan(float(loss.sum()))


def test_proxy_labels_outside_the_classes_are_explained() -> None:
    with pytest.raises(CounterpointError, match="5 proxies"):
        proxy.normalized_softmax(rows(), LABELS + 2, PROXIES)
