"""Any-step sampling against a distribution whose velocity is known, and by its own rules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.flow import clean_of, noisy, shift_of, shifted, training_times
from counterpoint.generation.flow_sampler import Sampling, flow_sample, guided

MEAN, DEVIATION = 2.0, 0.5


def normal_velocity(x: Tensor, t: Tensor, s: Tensor, prompts: Tensor) -> Tensor:
    """E[e - x_0 | x_t] where pictures are normal with this mean and deviation."""
    t = t.view(-1, 1)
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2
    residual = x - (1 - t) * MEAN
    return t * residual / variance - (MEAN + (1 - t) * DEVIATION**2 * residual / variance)


def draw(steps: int, **options: object) -> Tensor:
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 1, generator=g, dtype=torch.double)
    fresh = [torch.randn(4000, 1, generator=g, dtype=torch.double) for _ in range(steps)]
    prompts = torch.zeros(4000, dtype=torch.long)
    return flow_sample(normal_velocity, noise, prompts, prompts, steps=steps, fresh=fresh, **options)


@pytest.mark.parametrize(("eta", "mu"), [(0.0, 0.0), (0.0, 0.7), (1.0, 0.0), (0.5, 0.3)])
def test_many_steps_reach_the_distribution(eta: float, mu: float) -> None:
    x = draw(200, eta=eta, mu=mu)
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(x.std()) == pytest.approx(DEVIATION, abs=0.03)


def test_one_step_of_a_plain_flow_lands_on_the_mean() -> None:
    assert float(draw(1).std()) < 1e-9


def test_without_fresh_noise_a_step_is_eulers() -> None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    velocities = []

    def constant(x: Tensor, t: Tensor, s: Tensor, prompts: Tensor) -> Tensor:
        velocities.append((t.clone(), s.clone()))
        return x * 0.3

    out = flow_sample(constant, x, torch.zeros(6), torch.zeros(6), steps=2, landing=0.25)
    torch.testing.assert_close(out, x * 0.85 * 0.85)
    assert [(float(t[0]), float(s[0])) for t, s in velocities] == [(1.0, 0.625), (0.5, 0.125)]


def test_guidance_keeps_the_norm_and_one_is_none() -> None:
    g = torch.Generator().manual_seed(2)
    cond, null = (torch.randn(4, 2, 3, generator=g, dtype=torch.double) for _ in range(2))
    out = guided(cond, null, 5.0)
    torch.testing.assert_close(out.flatten(1).norm(dim=1), cond.flatten(1).norm(dim=1))
    torch.testing.assert_close(guided(cond, null, 1.0), cond)
    direction = null + 5 * (cond - null)
    torch.testing.assert_close(
        out / out.flatten(1).norm(dim=1).view(-1, 1, 1),
        direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1),
    )


def test_times() -> None:
    normal = torch.tensor([-10.0, 0.0, 10.0])
    assert training_times(normal, 0.0, 0.02, 0.995).tolist() == pytest.approx([0.02, 0.5, 0.995])
    t = torch.linspace(0.01, 0.99, 7, dtype=torch.double)
    torch.testing.assert_close(
        shifted(t, 0.8), torch.exp(torch.tensor(0.8)) / (torch.exp(torch.tensor(0.8)) + 1 / t - 1)
    )
    assert shift_of(512) == pytest.approx(0.5)
    clean, noise = torch.randn(3, 2), torch.randn(3, 2)
    at = torch.tensor([0.1, 0.5, 1.0])
    torch.testing.assert_close(clean_of(noisy(clean, noise, at), at, noise - clean), clean)


@pytest.mark.parametrize(
    "wrong", [{"steps": ()}, {"steps": (0,)}, {"steps": (2, 2)}, {"eta": 1.5}, {"landing": -0.1}]
)
def test_settings_that_cannot_be_sampled_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(CounterpointError, match="sampling"):
        Sampling(**wrong).check()
