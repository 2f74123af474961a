"""Losses over views: naive float64 loops, gradients, identities, invariances, extremes, shards equal to the whole."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import kernel_path
from counterpoint.objectives.contrast import multiview as mv
from counterpoint.objectives.contrast.decoupled import decoupled, negative_mass, positive_weights
from counterpoint.objectives.contrast.infonce import info_nce, nt_xent, symmetric_info_nce
from counterpoint.objectives.contrast.neighbours import nearest_neighbours, nnclr
from counterpoint.objectives.in_batch import unit

TAU = 0.3
SIGMA = 0.5
PATHS = ("plain", "stream")
Similarity = Callable[[int, int, int, int], Tensor]


def batch(views: int = 3, n: int = 5, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(views, n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def table(z: Tensor) -> Similarity:
    """s(l, i, m, j): cosine of view l of instance i and view m of instance j, over tau."""
    u = [[row / (row * row).sum().sqrt() for row in view] for view in z]
    return lambda l, i, m, j: (u[l][i] * u[m][j]).sum() / TAU


def log_sum(terms: list[Tensor]) -> Tensor:
    return torch.log(sum(torch.exp(term) for term in terms))


# Naive loops, mean over instances


def naive_info_nce(z: Tensor, own: bool = True) -> Tensor:
    s, n = table(z), range(z.shape[1])
    return sum(log_sum([s(0, i, 1, j) for j in n if own or j != i]) - s(0, i, 1, i) for i in n) / len(n)


def naive_symmetric(z: Tensor, own: bool = True) -> Tensor:
    return (naive_info_nce(z, own) + naive_info_nce(z.flip(0), own)) / 2


def naive_nt_xent(z: Tensor) -> Tensor:
    s, n = table(z), range(z.shape[1])
    terms = [
        log_sum([s(l, i, m, j) for m in (0, 1) for j in n if (m, j) != (l, i)]) - s(l, i, 1 - l, i)
        for l in (0, 1)
        for i in n
    ]
    return sum(terms) / len(terms)


def naive_decoupled(
    z: Tensor, anchors: tuple[int, ...] = (0, 1), weighted: bool = False, weight_gradient: bool = False
) -> Tensor:
    s, n, value = table(z), range(z.shape[1]), torch.zeros((), dtype=z.dtype)
    weights = [torch.ones((), dtype=z.dtype) for _ in n]
    if weighted:
        up = [torch.exp(s(0, i, 1, i) * TAU / SIGMA) for i in n]
        weights = [2 - x / (sum(up) / len(up)) for x in up]
        weights = weights if weight_gradient else [w.detach() for w in weights]
    for l in anchors:
        for i in n:
            others = [s(l, i, m, j) for m in (0, 1) for j in n if j != i]
            value = value + log_sum(others) - weights[i] * s(l, i, 1 - l, i)
    return value / len(n) / len(anchors)


def naive_mv(z: Tensor, which: str) -> Tensor:
    s, views, n = table(z), range(z.shape[0]), range(z.shape[1])
    losses = []
    for i in n:
        ordered = [s(l, i, m, i) for l in views for m in views if l != m]
        unordered = [s(l, i, m, i) for l in views for m in views if l < m]
        within = [log_sum([s(l, i, l, j) for j in n if j != i]) for l in views]
        within_own = [log_sum([s(l, i, l, j) for j in n]) for l in views]
        across = [log_sum([s(l, i, m, j) for m in views for j in n if m != l]) for l in views]
        rest = [log_sum([s(l, i, m, j) for m in views for j in n if (m, j) != (l, i)]) for l in views]
        per_view = [log_sum([s(l, i, m, i) for m in views if m != l]) for l in views]
        apart = [log_sum([s(l, i, m, j) for m in views for j in n if j != i]) for l in views]
        shares = [
            [s(l, i, m, i) - log_sum([s(l, i, m, i), apart[l]]) for m in views if m != l] for l in views
        ]
        losses.append({
            "mv_infonce": lambda rest=rest, ordered=ordered: log_sum(rest) - log_sum(ordered),
            "mv_infonce_printed": lambda across=across, ordered=ordered: log_sum(across) - log_sum(ordered),
            "mv_dhel": lambda within=within, unordered=unordered: sum(within) - log_sum(unordered),
            "mv_dhel_printed": lambda own=within_own, ordered=ordered: sum(own) - log_sum(ordered),
            "cl_1": lambda a=across, p=per_view: sum(x - y for x, y in zip(a, p)) / len(a),
            "cl_2": lambda within=within, p=per_view: sum(within) - sum(p) / len(p),
            "geometric": lambda shares=shares: -sum(sum(row) / len(row) for row in shares) / len(shares),
            "arithmetic": lambda shares=shares: -sum(log_sum(row) - math.log(len(row)) for row in shares) / len(shares),
        }[which]())  # fmt: skip
    return sum(losses) / len(losses)


def naive_pairwise(z: Tensor, kind: str) -> Tensor:
    pairs = [(a, b) for a in range(len(z)) for b in range(a + 1, len(z))]
    two = naive_nt_xent if kind == "nt_xent" else naive_dhel
    return sum(two(torch.stack((z[a], z[b]))) for a, b in pairs) / len(pairs)


def naive_dhel(z: Tensor) -> Tensor:
    s, n = table(z), range(z.shape[1])
    terms = [
        log_sum([s(0, i, 0, j) for j in n if j != i])
        + log_sum([s(1, i, 1, j) for j in n if j != i])
        - s(0, i, 1, i)
        for i in n
    ]
    return sum(terms) / len(terms)


def naive_average_dhel(z: Tensor) -> Tensor:
    u = z / z.norm(dim=-1, keepdim=True)
    means = [sum(u[m] for m in range(len(u)) if m != l) / (len(u) - 1) for l in range(len(u))]
    return sum(naive_dhel(torch.stack((u[l], means[l]))) for l in range(len(u))) / len(u)


def two(loss: Callable[..., Tensor], **settings: object) -> Callable[..., Tensor]:
    """A loss of two views as one of [2, n, D] with the candidates in the same form."""

    def of(z: Tensor, candidates: Tensor | None = None, offset: int = 0, temperature: float = TAU) -> Tensor:
        everyone = None if candidates is None else (candidates[0], candidates[1])
        return loss(z[0], z[1], temperature=temperature, candidates=everyone, offset=offset, **settings)

    return of


def one_way(**settings: object) -> Callable[..., Tensor]:
    def of(z: Tensor, candidates: Tensor | None = None, offset: int = 0, temperature: float = TAU) -> Tensor:
        keys = z[1] if candidates is None else candidates[1]
        return info_nce(z[0], keys, temperature=temperature, offset=offset, **settings)

    return of


def many(loss: Callable[..., Tensor], **settings: object) -> Callable[..., Tensor]:
    def of(z: Tensor, candidates: Tensor | None = None, offset: int = 0, temperature: float = TAU) -> Tensor:
        return loss(z, temperature=temperature, candidates=candidates, offset=offset, **settings)

    return of


LOSSES: dict[str, tuple[int, Callable[..., Tensor], Callable[[Tensor], Tensor] | None]] = {
    "info_nce": (2, one_way(), naive_info_nce),
    "info_nce_decoupled": (2, one_way(decoupled=True), partial(naive_info_nce, own=False)),
    "symmetric": (2, two(symmetric_info_nce), naive_symmetric),
    "symmetric_decoupled": (2, two(symmetric_info_nce, decoupled=True), partial(naive_symmetric, own=False)),
    "nt_xent": (2, two(nt_xent), naive_nt_xent),
    "dcl": (2, two(decoupled), naive_decoupled),
    "dcl_one_way": (2, two(decoupled, symmetric=False), partial(naive_decoupled, anchors=(0,))),
    "dclw": (2, two(decoupled, sigma=SIGMA), partial(naive_decoupled, weighted=True)),
    "dclw_gradient": (
        2,
        two(decoupled, sigma=SIGMA, weight_gradient=True),
        partial(naive_decoupled, weighted=True, weight_gradient=True),
    ),
    "mv_infonce": (3, many(mv.mv_infonce), partial(naive_mv, which="mv_infonce")),
    "mv_infonce_printed": (
        3,
        many(mv.mv_infonce, printed=True),
        partial(naive_mv, which="mv_infonce_printed"),
    ),
    "mv_dhel": (3, many(mv.mv_dhel), partial(naive_mv, which="mv_dhel")),
    "mv_dhel_printed": (3, many(mv.mv_dhel, printed=True), partial(naive_mv, which="mv_dhel_printed")),
    "mv_per_view": (3, many(mv.mv_per_view), partial(naive_mv, which="cl_1")),
    "mv_dhel_per_view": (3, many(mv.mv_dhel_per_view), partial(naive_mv, which="cl_2")),
    "poly_view": (3, many(mv.poly_view), partial(naive_mv, which="geometric")),
    "poly_view_arithmetic": (3, many(mv.poly_view, mean="arithmetic"), partial(naive_mv, which="arithmetic")),
    "pairwise_nt_xent": (3, many(mv.pairwise_nt_xent), partial(naive_pairwise, kind="nt_xent")),
    "pairwise_dhel": (3, many(mv.pairwise_dhel), partial(naive_pairwise, kind="dhel")),
    "average_nt_xent": (3, many(mv.average_nt_xent), None),  # its mean is not normalised: see the vectors
    "average_dhel": (3, many(mv.average_dhel), naive_average_dhel),
}
NAMES = sorted(LOSSES)
COUPLED = [
    *("info_nce", "symmetric", "nt_xent", "mv_infonce", "mv_infonce_printed", "mv_per_view"),
    *("pairwise_nt_xent", "average_nt_xent"),
]  # the positive stays in the denominator: one instance is no error
DECOUPLED = [name for name in NAMES if name not in COUPLED]


def value_and_gradient(loss: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    leaf = z.clone().requires_grad_()
    value = loss(leaf)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", [name for name in NAMES if LOSSES[name][2]])
def test_equals_the_naive_loop_in_value_and_gradient(name: str, path: str) -> None:
    views, loss, naive = LOSSES[name]
    expected, expected_gradient = value_and_gradient(naive, batch(views))
    with kernel_path(path, budget_bytes=2**10):
        value, gradient = value_and_gradient(lambda z: loss(z).mean(), batch(views))
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "name", [name for name in NAMES if name != "dclw"]
)  # its weights are constants by choice
def test_gradcheck(name: str, path: str) -> None:
    views, loss, _ = LOSSES[name]
    with kernel_path(path, budget_bytes=2**10):
        assert torch.autograd.gradcheck(loss, [batch(views, 4, 3).requires_grad_()])


@pytest.mark.parametrize("name", NAMES)
def test_instance_order_and_length_do_not_matter_and_the_gradient_is_orthogonal(name: str) -> None:
    views, loss, _ = LOSSES[name]
    z = batch(views)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(loss(z[:, order]), loss(z)[order])
    torch.testing.assert_close(loss(z * torch.linspace(0.5, 3, 5, dtype=z.dtype)[None, :, None]), loss(z))
    _, gradient = value_and_gradient(lambda z: loss(z).mean(), z)
    torch.testing.assert_close((gradient * z).sum(-1), z.new_zeros(z.shape[:2]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if "one_way" not in name and "info_nce" not in name])
def test_view_order_does_not_matter(name: str) -> None:
    views, loss, _ = LOSSES[name]
    torch.testing.assert_close(loss(batch(views).flip(0)), loss(batch(views)))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", NAMES)
def test_shards_with_gathered_candidates_equal_the_whole(name: str, path: str) -> None:
    views, loss, _ = LOSSES[name]
    expected, expected_gradient = value_and_gradient(lambda z: loss(z).mean(), batch(views))
    with kernel_path(path, budget_bytes=2**10):
        value, gradient = value_and_gradient(
            lambda z: torch.cat(
                [loss(z[:, :2], candidates=z, offset=0), loss(z[:, 2:], candidates=z, offset=2)]
            ).mean(),
            batch(views),
        )
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_logits_of_ten_thousand_and_two_instances(name: str, dtype: torch.dtype, path: str) -> None:
    views, loss, _ = LOSSES[name]
    for n in (2, 6):
        z = batch(views, n).to(dtype).requires_grad_()
        with kernel_path(path, budget_bytes=2**10):
            losses = loss(z, temperature=1e-4)
        losses.mean().backward()
        assert torch.isfinite(losses).all()
        assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("name", COUPLED)
def test_a_single_instance_is_no_error_where_the_positive_is_in_the_denominator(name: str) -> None:
    views, loss, _ = LOSSES[name]
    z = batch(views, 1).requires_grad_()
    loss(z).mean().backward()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("name", DECOUPLED)
def test_a_single_instance_is_refused_where_nothing_would_be_left(name: str) -> None:
    views, loss, _ = LOSSES[name]
    with pytest.raises(CounterpointError, match="at least 2 instances"):
        loss(batch(views, 1))


# Relations between the losses


def test_infonces_gradient_of_an_anchor_is_the_multiplier_times_dcls() -> None:
    z = batch(2, 8)
    q = negative_mass(z[0], z[1], temperature=TAU)
    for i in range(8):
        infonce = lambda z, i=i: torch.logaddexp(alignment(z)[i], others(z)[i]) - alignment(z)[i]  # noqa: E731
        dcl = lambda z, i=i: decoupled(z[0], z[1], temperature=TAU, symmetric=False)[i]  # noqa: E731
        (_, coupled), (_, free) = value_and_gradient(infonce, z), value_and_gradient(dcl, z)
        torch.testing.assert_close(coupled, q[i] * free, rtol=1e-10, atol=1e-13)


def alignment(z: Tensor) -> Tensor:
    return (unit(z[0]) * unit(z[1])).sum(-1) / TAU


def others(z: Tensor) -> Tensor:
    """Log-sum-exp of the first view over both views of the other instances, by its own formula."""
    logits = unit(z[0]) @ unit(torch.cat([z[0], z[1]])).T / TAU
    own = torch.eye(len(z[0]), dtype=torch.bool).repeat(1, 2)
    return logits.masked_fill(own, -torch.inf).logsumexp(1)


def test_weights_have_mean_one_and_favour_dissimilar_positives() -> None:
    similarities = torch.tensor([0.9, 0.1, 0.5], dtype=torch.float64)
    weights = positive_weights(similarities, SIGMA)
    torch.testing.assert_close(weights.mean(), weights.new_ones(()))
    assert weights[1] > weights[2] > weights[0]


def test_decoupled_views_of_two_are_the_two_view_losses() -> None:
    z = batch(2)
    torch.testing.assert_close(mv.pairwise_nt_xent(z, temperature=TAU), nt_xent(z[0], z[1], temperature=TAU))
    torch.testing.assert_close(mv.mv_dhel(z, temperature=TAU), mv.pairwise_dhel(z, temperature=TAU))


def test_a_queue_replaces_the_other_keys() -> None:
    z, queue = batch(2), batch(1, 7, seed=4)[0]
    u, v, q = unit(z[0]), unit(z[1]), unit(queue)
    logits = torch.cat([(u * v).sum(-1, keepdim=True), u @ q.T], 1) / TAU
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(5, dtype=torch.long), reduction="none")
    torch.testing.assert_close(info_nce(z[0], z[1], temperature=TAU, negatives=queue), expected)
    left_out = logits[:, 1:].logsumexp(1) - logits[:, 0]
    torch.testing.assert_close(
        info_nce(z[0], z[1], temperature=TAU, negatives=queue, decoupled=True), left_out
    )


def test_keys_beyond_the_queries_are_hard_negatives() -> None:
    z, hard = batch(2), batch(1, 3, seed=8)[0]
    logits = unit(z[0]) @ unit(torch.cat([z[1], hard])).T / TAU
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(5), reduction="none")
    torch.testing.assert_close(info_nce(z[0], torch.cat([z[1], hard]), temperature=TAU), expected)


def test_a_learnable_temperature_and_one_per_query_get_their_gradients() -> None:
    z = batch(2, 4, 3)
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: symmetric_info_nce(z[0], z[1], temperature=t), [tau])
    taus = torch.linspace(0.2, 0.5, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: info_nce(z[0], z[1], temperature=t), [taus])


@pytest.mark.parametrize("leave_out", [False, True])
def test_nnclr_equals_its_equation_and_leaves_the_neighbours_alone(leave_out: bool) -> None:
    z, p, bank = batch(2), batch(2, seed=1).requires_grad_(), batch(1, 11, seed=2)[0].requires_grad_()
    near = nearest_neighbours(z[0], bank), nearest_neighbours(z[1], bank)
    assert not near[0].requires_grad
    value = torch.zeros((), dtype=z.dtype)
    for view in (0, 1):
        logits = near[view] @ unit(p[1 - view]).T / TAU
        below = logits.masked_fill(torch.eye(5, dtype=torch.bool), -torch.inf) if leave_out else logits
        value = value + (below.logsumexp(1) - logits.diagonal()).mean() / 2
    losses = nnclr(near, (p[0], p[1]), temperature=TAU, decoupled=leave_out)
    torch.testing.assert_close(losses.mean(), value)
    expected, actual = (torch.autograd.grad(x, p)[0] for x in (value, losses.mean()))
    torch.testing.assert_close(actual, expected)


def test_nearest_neighbours_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, bank = batch(1, 20)[0], batch(1, 30, seed=3)[0]
    whole = nearest_neighbours(rows, bank)
    monkeypatch.setattr("counterpoint.objectives.contrast.neighbours.BLOCK_ELEMENTS", 70)
    torch.testing.assert_close(nearest_neighbours(rows, bank), whole, rtol=0, atol=0)
    torch.testing.assert_close(whole, unit(bank)[(unit(rows) @ unit(bank).T).argmax(1)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nt_xent(batch(2)[0], batch(2, 4)[0]), "row i of one"),
        (lambda: info_nce(batch(2)[0], batch(2, 4)[0]), "offset"),
        (lambda: info_nce(batch(2)[0], batch(2, 5, 7)[0]), "one width"),
        (lambda: decoupled(*batch(2), temperature=-1.0), "above 0"),
        (lambda: mv.mv_dhel(batch(1)), "at least 2 views"),
        (lambda: mv.mv_dhel(batch(3)[0]), "views, instances, D"),
        (lambda: mv.poly_view(batch(3), mean="geometrical"), "did you mean 'geometric'"),
        (lambda: mv.mv_dhel(batch(3), candidates=batch(2)), "V, N, D"),
        (lambda: nearest_neighbours(batch(1)[0], torch.empty(0, 4, dtype=torch.float64)), "empty"),
    ],
)
def test_wrong_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        call()
