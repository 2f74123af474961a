"""self-e: the loss with its targets, a whole training step of a tiny network, and the any-step sampler, from the equations."""

from __future__ import annotations

from functools import partial

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.generation.flow import clean_of, noisy, sampling_times, squared_norm
from counterpoint.generation.flow_sampler import flow_sample
from counterpoint.objectives.distillation.self_evaluation import (
    judged_picture,
    mixed_target,
    renormalised_target,
    self_evaluation,
    self_weight,
    time_weight,
)

RTOL, ATOL = 1e-9, 1e-12
LANDINGS = {"next": 0.0, "mid": 0.5, "current": 1.0}
WEIGHTS = ("W1", "b1", "W2", "b2", "E")


def loss(case: Case) -> Checks:
    def values() -> None:
        x0, predicted = case.tensor("x0"), case.tensor("xhat0", grad=True)
        t, s = case.tensor("t"), case.tensor("s")
        judged = judged_picture(
            predicted,
            case.tensor("g_cond"),
            case.tensor("g_uncond"),
            case.optional("g_fake"),
            case.number("k", 1.0),
        )
        expect = partial(case.expect, rtol=RTOL, atol=ATOL)
        expect("lam", self_weight(t, s))
        expect("x_self", judged)
        expect("x_tar", mixed_target(x0, judged, t, s))
        expect("x_renorm", renormalised_target(x0, judged, t, s))
        expect("weight", time_weight(t))
        for number, target in ((16, "mixed"), (20, "renormalised")):
            per_sample = self_evaluation(predicted, x0, judged, t, s, target)
            expect(f"loss{number}_per_sample", per_sample)
            whole = (time_weight(t) * per_sample).mean()
            expect(f"loss{number}", whole)
            (slope,) = torch.autograd.grad(whole, predicted)
            expect(f"grad{number}_xhat0", slope)

    return {"values": values}


def network(weights: dict[str, Tensor], x: Tensor, t: Tensor, s: Tensor, prompts: Tensor) -> Tensor:
    given = torch.cat([x, t[:, None], (t - s)[:, None]], 1)
    hidden = torch.tanh(given @ weights["W1"] + weights["b1"] + weights["E"][prompts])
    return hidden @ weights["W2"] + weights["b2"]


def step(case: Case) -> Checks:
    def values() -> None:
        weights = {name: case.tensor(name, grad=True) for name in WEIGHTS}
        net = partial(network, weights)
        x0, t, s, prompts = (case.tensor(name) for name in ("x0", "t", "s", "cls"))
        null = torch.full_like(prompts, int(case.number("null_index")))
        fake_prompts = prompts + int(case.number("fake_offset"))
        expect = partial(case.expect, rtol=RTOL, atol=ATOL)
        x_t = noisy(x0, case.tensor("eps"), t)
        expect("x_t", x_t)
        predicted = clean_of(x_t, t, net(x_t, t, s, prompts))
        expect("xhat0", predicted)
        x_s = noisy(predicted.detach(), case.tensor("eps2"), s)
        expect("xhat_s", x_s)
        cond, uncond = (clean_of(x_s, s, net(x_s, s, s, each)).detach() for each in (prompts, null))
        expect("g_cond", cond)
        expect("g_uncond", uncond)
        fake = None
        if "g_fake" in case:
            fake = clean_of(x_s, s, net(x_s, s, s, fake_prompts))
            expect("g_fake", fake)
        judged = judged_picture(
            predicted, cond, uncond, None if fake is None else fake.detach(), case.number("k", 1.0)
        )
        expect("x_self", judged)
        target = "renormalised" if case.number("renorm") else "mixed"
        made = (renormalised_target if target == "renormalised" else mixed_target)(x0, judged, t, s)
        expect("target", made)
        whole = (time_weight(t) * self_evaluation(predicted, x0, judged, t, s, target)).mean()
        expect("loss", whole)
        if fake is not None:
            branch = squared_norm(fake - predicted.detach()).mean()
            expect("loss_fake", branch)
            whole = whole + branch
        whole.backward()
        for name, value in weights.items():
            expect(f"grad_{name}", value.grad)

    return {"values": values}


def sampler(case: Case) -> Checks:
    def values() -> None:
        net = partial(network, {name: case.tensor(name) for name in WEIGHTS})
        prompts, noise = case.tensor("cls"), case.tensor("x_T")
        steps, mu = int(case.number("N")), case.number("mu")
        expect = partial(case.expect, rtol=RTOL, atol=ATOL)
        expect("t_schedule", sampling_times(steps, mu, torch.double))
        draw = partial(
            flow_sample,
            net,
            noise,
            prompts,
            torch.full_like(prompts, int(case.number("null_index"))),
            steps=steps,
            mu=mu,
            landing=LANDINGS[case.text("mode")],
            guidance=case.number("omega"),
        )
        expect("x_euler", draw(eta=0.0))
        expect("x_eta1", draw(eta=1.0, fresh=case.tensor("z")))

    return {"values": values}


KINDS = {"loss": loss, "step": step, "sampler": sampler}

test_self_evaluation = vector_tests({"self-e": lambda case: KINDS[case.text("kind")](case)})
