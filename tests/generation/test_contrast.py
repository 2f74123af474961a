"""Two sets of logits become scores: against a loop, at extremes, under permutation and shifts."""

from __future__ import annotations

import math

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.generation.contrast import Contrast, divergent_layer, plausible


def loop(strong: list[float], weak: list[float], how: Contrast) -> list[float]:
    """One row by the definition, on probabilities."""
    z = [value / how.strong_temperature for value in strong]
    w = [value / how.weak_temperature for value in weak]
    p, q = (
        [math.exp(v - max(row)) / sum(math.exp(u - max(row)) for u in row) for v in row] for row in (z, w)
    )
    out = []
    for i in range(len(z)):
        if p[i] < how.alpha * max(p) * (1 - 1e-12):
            out.append(-math.inf)
        elif how.form == "difference":
            out.append(math.log(p[i]) - math.log(q[i]))
        else:
            out.append((1 + how.beta) * z[i] - how.beta * w[i])
    return out


@pytest.mark.parametrize("form", ["extrapolate", "difference"])
@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (0.7, 1.3)])
def test_the_definition_by_a_loop(form: str, temperatures: tuple[float, float]) -> None:
    torch.manual_seed(0)
    how = Contrast(0.7, 0.2, form, *temperatures)  # type: ignore[arg-type]
    strong, weak = torch.randn(6, 9, dtype=torch.float64), torch.randn(6, 9, dtype=torch.float64)
    expected = [loop(z, w, how) for z, w in zip(strong.tolist(), weak.tolist())]
    torch.testing.assert_close(how(strong, weak), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("form", ["extrapolate", "difference"])
def test_gradients(form: str) -> None:
    torch.manual_seed(1)
    how = Contrast(form=form, alpha=0.05)  # type: ignore[arg-type]
    logits = [torch.randn(2, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    seen = plausible(logits[0], how.alpha)
    assert torch.autograd.gradcheck(lambda z, w: how(z, w)[seen], logits)


def test_nothing_of_the_weak_pass_is_left_at_the_ends() -> None:
    torch.manual_seed(2)
    strong, weak = torch.randn(4, 7), torch.randn(4, 7)
    assert torch.equal(Contrast(alpha=1.0)(strong, weak).argmax(1), strong.argmax(1))
    masked = strong.masked_fill(~plausible(strong, 0.1), -torch.inf)
    assert torch.equal(Contrast(beta=0.0)(strong, weak), masked)


def test_a_constant_on_either_side_and_the_order_of_tokens_do_not_matter() -> None:
    torch.manual_seed(3)
    strong, weak = torch.randn(4, 7).double(), torch.randn(4, 7).double()
    how, order = Contrast(), torch.randperm(7)
    scores = how(strong, weak)
    shifted = how(strong + 5, weak.log_softmax(-1))
    assert torch.equal(scores.isinf(), shifted.isinf())
    torch.testing.assert_close(scores.softmax(-1), shifted.softmax(-1))
    torch.testing.assert_close(how(strong[:, order], weak[:, order]), scores[:, order])


@pytest.mark.parametrize("form", ["extrapolate", "difference"])
def test_extremes_stay_numbers(form: str) -> None:
    strong = torch.tensor([[1e4, 1e4 - 1, -torch.inf, 0.0], [-1e4, -1e4, -1e4, -1e4]])
    weak = torch.tensor([[-torch.inf, 1e4, -torch.inf, 0.0], [1e4, -1e4, -torch.inf, 0.0]])
    scores = Contrast(form=form)(strong, weak)  # type: ignore[arg-type]
    assert not scores.isnan().any()
    assert not (scores == torch.inf).any()
    assert scores[0].argmax() == 0, "what only the weak pass rules out comes first"
    assert scores[0, 2] == -torch.inf
    assert (scores > -torch.inf).any(1).all(), "the mask is never empty"
    assert scores.log_softmax(-1).exp().sum(1).allclose(torch.ones(2))


@pytest.mark.parametrize(
    "given",
    [
        {"alpha": 0.0},
        {"alpha": 1.5},
        {"alpha": math.nan},
        {"beta": -0.1},
        {"beta": math.inf},
        {"weak_temperature": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(CounterpointError, match="expected 0 < alpha <= 1"):
        Contrast(**given)  # type: ignore[arg-type]


def test_two_vocabularies_are_refused() -> None:
    with pytest.raises(CounterpointError, match="one vocabulary for both"):
        Contrast()(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(CounterpointError, match="form='ratio'"):
        Contrast(form="ratio")  # type: ignore[arg-type]


def test_the_layer_is_the_one_furthest_from_the_last_by_a_loop() -> None:
    torch.manual_seed(4)
    last, early = (
        torch.randn(5, 6).double(),
        torch.randn(3, 5, 6).double() * torch.tensor([0.2, 1, 3]).view(3, 1, 1),
    )
    early[1, 0, 2] = -torch.inf

    def kl(p: torch.Tensor, q: torch.Tensor) -> float:
        return sum(float(a * (a / b).log()) for a, b in zip(p, q) if a > 0)

    for row in range(5):
        p = last[row].softmax(0)
        found = []
        for layer in range(3):
            q = early[layer, row].softmax(0)
            found.append(kl(p, (p + q) / 2) + kl(q, (p + q) / 2))
        assert int(divergent_layer(last, early)[row]) == max(range(3), key=found.__getitem__)
