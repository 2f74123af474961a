"""Terms on labels against naive loops in float64, their gradients by differences, and what must not change them."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.models.audio.encoder import masked_mean
from counterpoint.objectives.labels.class_contrast import ClassContrast, class_contrast

NAMES = get_args(ClassContrast)
LABELS = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3])


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def naive(name: str, rows: torch.Tensor, labels: torch.Tensor) -> float:
    u = [row / row.norm() for row in rows]
    many, label = range(len(u)), labels.tolist()
    s = [[float(u[i] @ u[j]) for j in many] for i in many]
    exp, log = (
        (lambda x: float(torch.tensor(x, dtype=torch.float64).exp())),
        (lambda x: float(torch.tensor(x, dtype=torch.float64).log())),
    )
    losses = []
    if name == "triplet":
        for a, p, n in product(many, many, many):
            if a != p and label[a] == label[p] and label[a] != label[n]:
                losses.append(max(0.0, float((u[a] - u[p]).norm() - (u[a] - u[n]).norm()) + 0.2))
        active = [value for value in losses if value > 0]
        return sum(active) / max(1, len(active))
    for i in many:
        positives = [j for j in many if j != i and label[j] == label[i]]
        negatives = [j for j in many if label[j] != label[i]]
        if name == "supcon":
            if positives:
                every = log(sum(exp(s[i][a] / 0.1) for a in many if a != i))
                losses.append(every - sum(s[i][p] / 0.1 for p in positives) / len(positives))
            continue
        if name.endswith("miner"):
            if not positives or not negatives:
                losses.append(0.0)
                continue
            far, near = min(s[i][p] for p in positives), max(s[i][n] for n in negatives)
            positives = [p for p in positives if s[i][p] - 0.1 < near]
            negatives = [n for n in negatives if s[i][n] + 0.1 > far]
        pulled = log(1 + sum(exp(-2 * (s[i][p] - 0.5)) for p in positives)) / 2
        losses.append(pulled + log(1 + sum(exp(50 * (s[i][n] - 0.5)) for n in negatives)) / 50)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_the_naive_loops(rows, name):
    assert float(class_contrast(name, rows, LABELS).mean()) == pytest.approx(
        naive(name, rows, LABELS), rel=1e-9
    )


@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_differences(rows, name):
    rows.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: class_contrast(name, z, LABELS).mean(), rows)


@pytest.mark.parametrize("name", NAMES)
def test_order_and_length_do_not_matter(rows, name):
    turn = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    expected = class_contrast(name, rows, LABELS)
    turned = class_contrast(name, rows[turn] * torch.arange(1, 9)[:, None], LABELS[turn])
    torch.testing.assert_close(turned.values, expected.values[turn])
    torch.testing.assert_close(turned.mean(), expected.mean())


@pytest.mark.parametrize("name", NAMES)
def test_two_halves_against_all_are_the_whole(rows, name):
    expected = class_contrast(name, rows, LABELS)
    halves = [
        class_contrast(
            name, rows[s : s + 4], LABELS[s : s + 4], candidates=rows, candidate_labels=LABELS, offset=s
        )
        for s in (0, 4)
    ]
    torch.testing.assert_close(torch.cat([half.values for half in halves]), expected.values)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 0], [0, 0, 0, 0]])
def test_batches_without_positives_or_negatives_are_finite(rows, name, labels):
    some = (1e4 * rows[: len(labels)]).requires_grad_()
    loss = class_contrast(name, some, torch.tensor(labels)).mean()
    loss.backward()
    assert loss.isfinite()
    assert some.grad.isfinite().all()
    if len(set(labels)) == len(labels) and name in ("supcon", "triplet", "multi-similarity+miner"):
        assert float(loss.detach()) == 0.0
        assert not some.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_neither_term_nor_gradient(name):
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(8, 6, 5, dtype=torch.float64, generator=draw)
    mask = torch.arange(6)[None] < torch.tensor([6, 4, 3, 1, 5, 2, 2, 4])[:, None]
    wide = torch.cat([states, 1e6 * torch.randn(8, 3, 5, dtype=torch.float64, generator=draw)], 1)
    wider = torch.cat([mask, torch.zeros(8, 3, dtype=torch.bool)], 1)
    found = []
    for rows, kept in ((states, mask), (wide, wider)):
        rows.requires_grad_()
        loss = class_contrast(name, masked_mean(rows, kept), LABELS).mean()
        loss.backward()
        found.append((loss.detach(), rows.grad[:, :6]))
        assert not rows.grad[~kept].any()
    torch.testing.assert_close(found[1][0], found[0][0])
    torch.testing.assert_close(found[1][1], found[0][1])


def test_wrong_calls_teach(rows):
    with pytest.raises(CounterpointError, match="did you mean 'triplet'"):
        class_contrast("tripplet", rows, LABELS)
    with pytest.raises(CounterpointError, match="no frame within its length"):
        masked_mean(torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool))
