"""SupReMix's loss: literal loops over explicit mixtures, gradcheck, SupCon as its special case, shards, extremes."""

import math

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.labels import mixed_pairs as module
from counterpoint.objectives.labels.mixed_pairs import mixed_pairs
from counterpoint.objectives.labels.supervised import supcon_out

TAU, WINDOW = 0.4, 4.0


def batch(n: int = 8, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 5, dtype=torch.float64, generator=draw)
    y = torch.randint(0, 6, (n,), generator=draw).double()
    return z, y, torch.rand(n, n, dtype=torch.float64, generator=draw)


def literal(
    z: Tensor, y: Tensor, alpha: Tensor | None, window: float | None, weighted: bool, detach: bool
) -> Tensor:
    v = [row / row.norm() for row in z]
    src = [row.detach() if detach else row for row in v]
    losses, n = [], len(v)
    for i in range(n):
        terms, pulled = [], []
        for j in range(n):
            if j == i:
                continue
            weight = abs(y[i] - y[j]) + 1 if weighted else 1.0
            terms.append(weight * torch.exp(v[i] @ v[j] / TAU))
            if y[i] == y[j]:
                pulled.append(v[i] @ v[j] / TAU)
            elif alpha is not None:
                mixture = alpha[i, j] * src[i] + (1 - alpha[i, j]) * src[j]
                label = alpha[i, j] * y[i] + (1 - alpha[i, j]) * y[j]
                weight = abs(y[i] - label) + 1 if weighted else 1.0
                terms.append(weight * torch.exp(v[i] @ mixture / TAU))
        for j in range(n):
            for k in range(n):
                if window is not None and y[i] - window < y[j] < y[i] < y[k] < y[i] + window:
                    a = (y[k] - y[i]) / (y[k] - y[j])
                    s = v[i] @ (a * src[j] + (1 - a) * src[k]) / TAU
                    terms.append(torch.exp(s))
                    pulled.append(s)
        losses.append(torch.log(sum(terms)) - sum(pulled) / len(pulled) if pulled else 0.0 * z.sum())
    return torch.stack(losses)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(
    ("negatives", "window"), [(False, None), (True, None), (False, WINDOW), (True, WINDOW)]
)
def test_loops(negatives: bool, window: float | None, detach: bool, weighted: bool) -> None:
    z, y, alpha = batch()
    options = {
        "alpha": alpha if negatives else None,
        "window": window,
        "weighted": weighted,
        "detach": detach,
    }
    one, other = z.clone().requires_grad_(), z.clone().requires_grad_()
    found, expected = mixed_pairs(one, y, temperature=TAU, **options).values, literal(other, y, **options)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(one.grad, other.grad)


def test_gradcheck() -> None:
    z, y, alpha = batch(6)

    def loss(rows: Tensor) -> Tensor:
        return mixed_pairs(rows, y, temperature=TAU, alpha=alpha, window=WINDOW, detach=False).values

    assert torch.autograd.gradcheck(loss, (z.requires_grad_(),))


def test_without_mixtures_and_weights_it_is_supcon() -> None:
    z, y, _ = batch()
    found = mixed_pairs(z, y, temperature=TAU, weighted=False).values
    torch.testing.assert_close(found, supcon_out(z, y.long(), temperature=TAU).values)


def test_a_mixed_positive_lies_where_the_anchor_does() -> None:
    """Rows on a line in the order of their values: the mixture is the anchor itself, before its length."""
    y = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    z = torch.stack((torch.ones_like(y), y), 1)
    loss = mixed_pairs(z, y, temperature=1.0, window=5.0, normalize=False, weighted=False)
    assert loss.stats["mixed_positives"].tolist() == [0, 1, 0]
    own = float(z[1] @ z[1])
    others = float(z[1] @ z[0]), float(z[1] @ z[2])
    expected = math.log(math.exp(own) + sum(map(math.exp, others))) - own
    assert loss.values.tolist() == pytest.approx([0.0, expected, 0.0])


def test_shards_and_pieces_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    z, y, alpha = batch()
    options = {"temperature": TAU, "window": WINDOW}
    one = z.clone().requires_grad_()
    whole = mixed_pairs(one, y, alpha=alpha, **options).values
    whole.sum().backward()
    monkeypatch.setattr(module, "PIECE", 8)
    other = z.clone().requires_grad_()
    parts = [
        mixed_pairs(
            other[rows], y[rows], alpha=alpha[rows], candidates=other, candidate_values=y, offset=rows.start, **options
        ).values
        for rows in (slice(0, 3), slice(3, 8))
    ]  # fmt: skip
    torch.cat(parts).sum().backward()
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(other.grad, one.grad)


def test_order_does_not_matter() -> None:
    z, y, alpha = batch()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    one = mixed_pairs(z, y, alpha=alpha, window=WINDOW).values
    other = mixed_pairs(z[order], y[order], alpha=alpha[order][:, order], window=WINDOW).values
    torch.testing.assert_close(other, one[order])


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 1.0], [0.0, 1e6], [1.0, 1.0 + 1e-9]])
def test_two_rows(values: list[float]) -> None:
    z = torch.randn(2, 3, requires_grad=True)
    loss = mixed_pairs(
        z, torch.tensor(values), temperature=1e-4, alpha=torch.full((2, 2), 0.2), window=1.0
    ).values
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(z.grad).all()


def test_tolerance_makes_near_values_equal() -> None:
    z, y, alpha = batch()
    near = y + 1e-4 * torch.rand(8, dtype=y.dtype)
    one = mixed_pairs(z, y, alpha=alpha, window=WINDOW, temperature=TAU)
    other = mixed_pairs(z, near, alpha=alpha, window=WINDOW, temperature=TAU, tolerance=1e-3)
    assert torch.equal(one.stats["has_positive"], other.stats["has_positive"])
    torch.testing.assert_close(one.values, other.values, rtol=1e-2, atol=1e-2)


def test_wrong_shapes_teach() -> None:
    z, y, alpha = batch()
    with pytest.raises(CounterpointError, match="one number per row"):
        mixed_pairs(z, y[:3])
    with pytest.raises(CounterpointError, match="one share per pair"):
        mixed_pairs(z, y, alpha=alpha[:3])
    with pytest.raises(CounterpointError, match="at least 2 rows"):
        mixed_pairs(z[:1], y[:1])
