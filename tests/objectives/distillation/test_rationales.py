"""QCRD's losses: against loops, gradients, extremes, empty sides, permutation and splits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.distillation import rationales
from counterpoint.objectives.reduction import Loss


def tables(seed: int = 0) -> dict[str, Tensor]:
    """Four items: both kinds, no negatives, no positives, neither."""
    torch.manual_seed(seed)
    good = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]).bool()
    bad = torch.tensor([[1, 1], [0, 0], [1, 0], [0, 0]]).bool()
    return {
        "good": torch.rand(4, 3, dtype=torch.float64) * 5, "bad": torch.rand(4, 2, dtype=torch.float64) * 5,
        "good_there": good, "bad_there": bad,
        "good_score": torch.rand(4, 3, dtype=torch.float64), "bad_score": torch.rand(4, 2, dtype=torch.float64),
    }  # fmt: skip


def loss_of(t: dict[str, Tensor], **given: object) -> Loss:
    return rationales.contrasted(
        t["good"], t["bad"], t["good_there"], t["bad_there"], positive_scores=t["good_score"],
        negative_scores=t["bad_score"], **given,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("choice", ["max", "min", "mean"])
def test_the_definition_by_a_loop(choice: str) -> None:
    t, beta, margin = tables(), 0.3, 3.0
    expected = []
    for item in range(4):
        good = [j for j in range(3) if t["good_there"][item, j]]
        bad = [j for j in range(2) if t["bad_there"][item, j]]
        total = 0.0
        if good:
            best = min(good, key=lambda j: float(t["good"][item, j]))
            total += float(t["good_score"][item, best] * t["good"][item, best])
        if bad:
            clipped = {j: min(float(t["bad"][item, j]) - margin, 0.0) for j in bad}
            if choice == "mean":
                value = sum(clipped.values()) / len(bad)
                score = sum(float(t["bad_score"][item, j]) for j in bad) / len(bad)
            else:
                at = (max if choice == "max" else min)(bad, key=lambda j: clipped[j])
                value, score = clipped[at], float(t["bad_score"][item, at])
            total -= beta * (1 - score) * value
        expected.append(total)
    found = loss_of(t, beta=beta, margin=margin, choose_negative=choice).values
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("form", ["nce", "ratio"])
def test_the_judges_loss_by_a_loop(form: str) -> None:
    t = tables()
    found = rationales.judged(t["good_score"], t["bad_score"], t["good_there"], t["bad_there"], form=form)  # type: ignore[arg-type]
    top = sum(math.exp(float(s)) for s in t["good_score"][0, :2])
    low = sum(math.exp(float(s)) for s in t["bad_score"][0])
    assert float(found.values[0]) == pytest.approx(-math.log(top / (top + low if form == "nce" else low)))
    assert found.values[1:].tolist() == [0, 0, 0], "an item without both kinds has nothing to compare"
    assert float(found.mean()) == pytest.approx(float(found.values[0])), "it does not count either"


def test_gradients() -> None:
    t = tables()
    leaves = [t["good"].requires_grad_(), t["bad"].requires_grad_()]
    assert torch.autograd.gradcheck(lambda g, b: loss_of({**t, "good": g, "bad": b}).values, leaves)
    scores = [t["good_score"].requires_grad_(), t["bad_score"].requires_grad_()]
    for form in ("nce", "ratio"):
        assert torch.autograd.gradcheck(
            lambda g, b, form=form: (
                rationales.judged(g, b, t["good_there"], t["bad_there"], form=form).values
            ),
            scores,
        )
    loss_of(t).mean().backward()
    assert t["good_score"].grad is None, "the judge cannot lower the student's loss"
    assert int((t["good"].grad[0] != 0).sum()) == 1, "only the chosen rationale learns"


def test_negatives_are_pushed_to_the_margin_and_no_further() -> None:
    logit = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    there = torch.ones(1, 1, dtype=torch.bool)
    for _ in range(400):
        entropy = torch.nn.functional.softplus(logit).view(1, 1)
        loss = rationales.contrasted(
            torch.zeros(1, 1, dtype=torch.float64), entropy, there, there, beta=1.0, margin=2.0
        ).mean()
        (grad,) = torch.autograd.grad(loss, logit)
        with torch.no_grad():
            logit -= 0.1 * grad
    assert float(torch.nn.functional.softplus(logit)) == pytest.approx(2.0, abs=0.1)


def test_extremes_stay_numbers() -> None:
    there = torch.ones(1, 2, dtype=torch.bool)
    for size, cost, slope in ((1e4, 0.0, 0.0), (-1e4, 2e4, -1.0)):
        values = torch.full((1, 2), size, requires_grad=True)
        loss = rationales.judged(values, -values, there, there)
        loss.mean().backward()
        assert loss.values.tolist() == [cost]
        assert values.grad is not None
        assert values.grad.tolist() == [pytest.approx([slope] * 2, abs=1e-3)]
    none = torch.zeros(2, 0)
    empty = none.bool()
    assert rationales.contrasted(none, none, empty, empty).values.tolist() == [0, 0]
    assert float(rationales.judged(none, none, empty, empty).mean()) == 0
    assert rationales.contrasted(
        torch.zeros(0, 1), torch.zeros(0, 1), *[torch.zeros(0, 1).bool()] * 2
    ).values.shape == (0,)


def test_the_order_of_rationales_and_of_items_and_splits_do_not_matter() -> None:
    t = tables()
    whole = loss_of(t)
    flipped = {name: value.flip(1) for name, value in t.items()}
    torch.testing.assert_close(loss_of(flipped).values, whole.values)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(loss_of({n: v[order] for n, v in t.items()}).values, whole.values[order])
    parts = [loss_of({n: v[part] for n, v in t.items()}) for part in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(torch.cat([each.values for each in parts]), whole.values)
    judge = [t["good_score"], t["bad_score"], t["good_there"], t["bad_there"]]
    pieces = [rationales.judged(*[v[part] for v in judge]) for part in (slice(0, 2), slice(2, 4))]
    total = sum(each.values.sum() for each in pieces) / sum(each.counts.sum() for each in pieces)  # type: ignore[union-attr]
    torch.testing.assert_close(total, rationales.judged(*judge).mean())


def test_a_margin_of_nothing_is_refused() -> None:
    there = torch.ones(1, 1, dtype=torch.bool)
    with pytest.raises(CounterpointError, match="a margin above 0"):
        rationales.contrasted(torch.zeros(1, 1), torch.zeros(1, 1), there, there, margin=0.0)
