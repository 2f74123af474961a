"""sds-clip: CLIP's loss, the noised map, score distillation with and without the denoiser's Jacobian, Winoground's judgements."""

from __future__ import annotations

from functools import partial

import torch
from harness import Case, Checks, vector_tests

from counterpoint.evaluation.pictures.captioned import winoground
from counterpoint.models.pictures.diffusion import diffused, scaled_linear
from counterpoint.objectives.contrast.infonce import symmetric_info_nce
from counterpoint.objectives.distillation.score_distillation import score_distillation_sampling

RTOL, ATOL = 1e-8, 1e-11


def training(case: Case) -> Checks:
    def values() -> None:
        expect = partial(case.expect, rtol=RTOL, atol=ATOL)
        image, text = case.tensor("img_feat", grad=True), case.tensor("txt_feat", grad=True)
        W, b = case.tensor("W", grad=True), case.tensor("b", grad=True)
        eps, t, tau, weight = case.tensor("eps"), case.tensor("t"), case.number("tau"), case.number("lam")
        shape = [int(side) for side in case.tensor("latent_shape")]
        assert torch.Size(shape).numel() == eps.shape[1]
        a = case.tensor("alpha_bar")  # of diffusers, in single precision
        torch.testing.assert_close(scaled_linear()[t], a, rtol=2e-6, atol=0)
        unit = torch.nn.functional.normalize
        expect("logits", unit(image) @ unit(text).T / tau)
        clip = symmetric_info_nce(image, text, temperature=tau).mean()
        expect("loss_clip", clip)
        z0 = image @ W + b
        expect("z0", z0)
        z_t = diffused(z0, eps, a)
        expect("z_t", z_t)

        def predicted() -> torch.Tensor:
            time = (t.double() / 1000)[:, None] * case.tensor("A3")
            return torch.tanh(z_t @ case.tensor("A1") + case.tensor("cond") @ case.tensor("A2") + time) @ case.tensor("A4")  # fmt: skip

        answer = predicted()
        expect("eps_pred", answer)
        each = score_distillation_sampling(answer, eps, z_t)
        expect("sds_per_sample", each)
        expect("loss_sds", each.mean())
        expect("loss_sds_elementmean", score_distillation_sampling(answer, eps, z_t, per_element=True).mean())
        total = clip + weight * each.mean()
        expect("loss_total", total)
        slopes = torch.autograd.grad(total, (image, text, W, b), retain_graph=True)
        for name, slope in zip(("img_feat", "txt_feat", "W", "b"), slopes, strict=True):
            expect(f"grad_{name}", slope)
        without = score_distillation_sampling(answer.detach(), eps, z_t, "sds")
        torch.testing.assert_close(without, each, rtol=1e-12, atol=0)
        for ending, losses in (("", each), ("_nojac", without)):
            slopes = torch.autograd.grad(losses.mean(), (image, W), retain_graph=True)
            expect(f"grad_sds_img_feat{ending}", slopes[0])
            expect(f"grad_sds_W{ending}", slopes[1])

    return {"values": values}


def judged(case: Case) -> Checks:
    def values() -> None:
        assert case.text("kind") == "winoground"
        flags = winoground(case.tensor("scores"))
        for name, each in flags.items():
            assert torch.equal(each, case.tensor(name).bool()), name
            case.compared.add(name)
            case.expect(f"{name}_acc", each.double().mean(), rtol=0, atol=1e-15)

    return {"values": values}


test_score_distillation = vector_tests(
    {"sds-clip": lambda case: judged(case) if "scores" in case else training(case)}
)
