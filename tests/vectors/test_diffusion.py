"""ddae and edm: EDM's wrapping, loss and levels; MoCo v3's contrast; self-conditioning and the layers that it steers."""

from __future__ import annotations

from functools import partial

import torch
from harness import Case, Checks, vector_tests
from torch.nn import functional

from counterpoint.generation.diffusion import Diffusion
from counterpoint.models.pictures.denoiser import SelfConditioning
from counterpoint.models.pictures.patches import modulated
from counterpoint.objectives.contrast.momentum_contrast import momentum_contrast
from counterpoint.phases.pictures.denoising import denoising_error


def edm(case: Case) -> Checks:
    def values() -> None:
        how = Diffusion(
            data_deviation=case.number("sigma_data"), mean=case.number("p_mean"), std=case.number("p_std")
        )
        clean = 2 * case.tensor("x01").double() - 1
        level = case.tensor("sigma").flatten()
        a, b = case.tensor("net_a", grad=True), case.tensor("net_b", grad=True)
        x = how.noised(clean, case.tensor("noise"), level)
        given, time = how.given(x, level)
        mixed = torch.einsum("nchw,cd->ndhw", given, a) + (time[:, None] * b)[:, :, None, None]
        denoised = how.clean(x, level, torch.tanh(mixed))
        expect = partial(case.expect, rtol=2e-5, atol=1e-7)
        expect("denoised", denoised)
        loss = denoising_error(clean, denoised, level, how).mean()
        case.expect("loss", loss, rtol=1e-9)
        expect("loss_official_f32", loss)
        slopes = torch.autograd.grad(loss, (a, b))
        expect("grad_a_f32", slopes[0])
        expect("grad_b_f32", slopes[1])
        case.expect("schedule18", how.schedule(18)[:-1], rtol=1e-9)
        drawn = how.levels(torch.tensor([0.0, 1.0], dtype=torch.double)).log()
        torch.testing.assert_close(drawn, how.mean + how.std * torch.tensor([0.0, 1.0], dtype=torch.double))

    return {"values": values}


def contrast(case: Case) -> Checks:
    def values() -> None:
        first, second = case.tensor("q1", grad=True), case.tensor("q2", grad=True)
        tau = case.number("temperature")
        loss = momentum_contrast(first, second, case.tensor("k1"), case.tensor("k2"), temperature=tau).mean()
        expect = partial(case.expect, rtol=1e-10, atol=1e-13)
        expect("loss", loss)
        expect("loss_without_2T", loss / (2 * tau))
        slopes = torch.autograd.grad(loss, (first, second))
        expect("grad_q1", slopes[0])
        expect("grad_q2", slopes[1])

    return {"values": values}


def conditioning(case: Case) -> Checks:
    def values() -> None:
        h, e, x = (case.tensor(name, grad=True) for name in ("h", "emb", "x"))
        weight, gate, eps = case.tensor("W"), case.tensor("G"), case.number("eps")
        u = SelfConditioning(*weight.shape, gated=bool(case.number("gate"))).double()
        with torch.no_grad():
            u.out.weight.copy_(weight.T)
            u.out.bias.copy_(case.tensor("b"))
            bias = case.tensor("gb")
            if u.gate is not None:
                u.gate.weight.copy_(gate.T)
                u.gate.bias.copy_(bias)
        z = functional.layer_norm(h.mean(1), h.shape[-1:], eps=eps)
        steer = e + u(z, e)
        y = x
        for each in case.tensor("W_mod"):
            shift, scale = (functional.silu(steer) @ each)[:, None].chunk(2, -1)
            y = y + modulated(y, shift, scale)
        expect = partial(case.expect, rtol=1e-9, atol=1e-12)
        expect("z", z)
        expect("cond", steer)
        expect("y", y)
        loss = y.square().mean()
        expect("loss", loss)
        loss.backward()
        for name, value in (("h", h), ("emb", e), ("x", x)):
            expect(f"grad_{name}", value.grad)
        assert u.out.weight.grad is not None
        expect("grad_W", u.out.weight.grad.T)

    return {"values": values}


KINDS = {"edm": edm, "moco_v3": contrast, "self_conditioning_reconstructed": conditioning}

test_diffusion = vector_tests({"ddae": lambda case: KINDS[case.text("kind")](case)})
