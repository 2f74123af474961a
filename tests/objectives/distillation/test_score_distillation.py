"""Score distillation against loops over elements, its two gradients, extreme inputs; the path between pictures and noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.models.pictures.diffusion import diffused, noise_by_flow, noise_of_velocity, scaled_linear
from counterpoint.objectives.distillation.score_distillation import score_distillation_sampling


def rows(seed: int = 0, count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, 2, 3, generator=g, dtype=torch.double) for _ in range(3))  # type: ignore[return-value]


def test_it_is_the_sum_over_elements_or_their_mean() -> None:
    predicted, noise, z = rows()
    for row in range(3):
        total = sum(
            (float(predicted[row, i, j]) - float(noise[row, i, j])) ** 2 for i in range(2) for j in range(3)
        )
        assert math.isclose(
            float(score_distillation_sampling(predicted, noise, z)[row]), total, rel_tol=1e-12
        )
        mean = score_distillation_sampling(predicted, noise, z, per_element=True)[row]
        assert math.isclose(float(mean), total / 6, rel_tol=1e-12)


def test_both_gradients_are_those_of_a_loop() -> None:
    _, noise, z = rows(1)
    z.requires_grad_(True)
    predicted = z**2 / 3  # a denoiser with a Jacobian of 2 z / 3
    full = torch.autograd.grad(score_distillation_sampling(predicted, noise, z).sum(), z, retain_graph=True)[
        0
    ]
    left_out = torch.autograd.grad(score_distillation_sampling(predicted.detach(), noise, z, "sds").sum(), z)[
        0
    ]
    for index in torch.cartesian_prod(*(torch.arange(n) for n in z.shape)).tolist():
        at = tuple(index)
        error = float(predicted[at].detach() - noise[at])
        assert math.isclose(float(left_out[at]), 2 * error, rel_tol=1e-12)
        assert math.isclose(float(full[at]), 2 * error * 2 * float(z[at].detach()) / 3, rel_tol=1e-12)
    again = torch.autograd.grad(score_distillation_sampling(z**2 / 3, noise, z, "sds").sum(), z)[0]
    assert torch.equal(again, left_out)  # also where the caller keeps a graph


def test_gradcheck_and_permutation() -> None:
    predicted, noise, z = rows(2)
    torch.autograd.gradcheck(
        lambda p: score_distillation_sampling(p, noise, z), predicted.requires_grad_(True)
    )
    order = torch.tensor([2, 0, 1])
    whole = score_distillation_sampling(predicted, noise, z)
    assert torch.equal(whole[order], score_distillation_sampling(predicted[order], noise[order], z[order]))
    parts = torch.cat([score_distillation_sampling(*(each[part] for each in (predicted, noise, z))) for part in (slice(2), slice(2, 3))])  # fmt: skip
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=0)


@pytest.mark.parametrize("gradient", ["full", "sds"])
def test_extremes_and_no_rows(gradient: str) -> None:
    big = torch.full((1, 4), 1e4)
    loss = score_distillation_sampling(big, -big, torch.zeros(1, 4), gradient, per_element=True)  # type: ignore[arg-type]
    assert loss.tolist() == [4e8]
    assert score_distillation_sampling(*(torch.zeros(0, 4),) * 3, gradient).shape == (0,)  # type: ignore[arg-type]


def test_shapes_and_names_are_checked() -> None:
    with pytest.raises(CounterpointError, match="expected one shape"):
        score_distillation_sampling(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(CounterpointError, match="expected 'full' or 'sds'"):
        score_distillation_sampling(*(torch.zeros(2, 3),) * 3, "half")  # type: ignore[arg-type]


def test_the_schedule_is_the_product_of_a_loop() -> None:
    product, found = 1.0, scaled_linear().tolist()
    for t in range(1000):
        root = math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * t / 999
        product *= 1 - root**2
        assert math.isclose(found[t], product, rel_tol=1e-12)


def test_networks_of_other_paths_see_the_same_noise() -> None:
    clean, noise, _ = rows(3)
    a = torch.tensor([0.999, 0.5, 0.0047], dtype=torch.double)
    z = diffused(clean, noise, a)
    torch.testing.assert_close(z[1], math.sqrt(0.5) * clean[1] + math.sqrt(0.5) * noise[1])
    signal, rest = a.sqrt().view(3, 1, 1), (1 - a).sqrt().view(3, 1, 1)
    torch.testing.assert_close(noise_of_velocity(z, signal * noise - rest * clean, a), noise)
    seen = {}

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        seen["x"], seen["t"] = x, t
        return noise - clean

    torch.testing.assert_close(noise_by_flow(velocity, z, a), noise)
    for row in range(3):  # the point lies on the straight path at that time
        t = float(seen["t"][row])
        torch.testing.assert_close(seen["x"][row], (1 - t) * clean[row] + t * noise[row])
