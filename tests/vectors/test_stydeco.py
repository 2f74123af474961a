"""stydeco: the one-step formula, the multilevel GAN loss, cycle and identity, adapters of two domains, the prompts' contrast."""

from __future__ import annotations

from functools import partial

import torch
from harness import Case, Checks, vector_tests

from counterpoint.generation.one_step import alpha_bar, one_step
from counterpoint.models.styles.adapted import TwoAdapters
from counterpoint.models.styles.domains import DOMAINS
from counterpoint.objectives.distillation.restyling import multilevel_sigmoid, reconstruction
from counterpoint.objectives.labels.supervised import supcon_out


def step(case: Case) -> Checks:
    def values() -> None:
        z, eps = (case.tensor(name, grad=True) for name in ("x_enc", "eps_pred"))
        kept = case.number("alpha_bar")
        torch.testing.assert_close(alpha_bar(int(case.number("timestep"))), kept, rtol=1e-5, atol=0.0)
        made = one_step(z, eps, kept)
        case.expect("x_out", made, rtol=1e-10, atol=1e-12)
        case.expect("x_out_official", made, rtol=1e-4, atol=1e-4)
        (made.flatten() * torch.linspace(-1, 1, made.numel(), dtype=made.dtype)).sum().backward()
        case.expect("grad_x", z.grad, rtol=1e-10, atol=1e-12)
        case.expect("grad_eps", eps.grad, rtol=1e-10, atol=1e-12)

    return {"values": values}


def gan(case: Case) -> Checks:
    def one(name: str, real: bool) -> None:
        levels = [case.tensor(f"logits{i}", grad=True) for i in range(int(case.number("n_levels")))]
        expect = partial(case.expect, rtol=1e-10, atol=1e-12)
        per_sample = multilevel_sigmoid(levels, real)
        expect(f"loss_{name}_per_sample", per_sample[:, None])
        expect(f"loss_{name}", per_sample.mean())
        per_sample.mean().backward()
        for number, level in enumerate(levels):
            expect(f"grad_{name}{number}", level.grad)

    return {name: partial(one, name, real) for name, real in (("G", True), ("real", True), ("fake", False))}


def both_ways(case: Case) -> Checks:
    def values() -> None:
        names = ("rec_a", "rec_b", "idt_of_b", "idt_of_a")
        made = {name: case.tensor(name, grad=True) for name in names}
        seen = dict(zip(names, case.tensor("lpips"), strict=True))
        expect = partial(case.expect, rtol=1e-12, atol=1e-12)

        def term(weight: str, *pairs: tuple[str, str]) -> torch.Tensor:
            parts = [
                reconstruction(
                    made[name],
                    case.tensor(real),
                    weight=case.number(f"w_{weight}"),
                    perceptual=seen[name],
                    perceptual_weight=case.number(f"w_{weight}_lpips"),
                ).mean()
                for name, real in pairs
            ]
            return torch.stack(parts).sum()

        cycle = term("cycle", ("rec_a", "img_a"), ("rec_b", "img_b"))
        identity = term("idt", ("idt_of_b", "img_b"), ("idt_of_a", "img_a"))
        expect("loss_cycle", cycle)
        expect("loss_identity", identity)
        (cycle + identity).backward()
        for name, value in made.items():
            expect(f"grad_{name}", value.grad)

    return {"values": values}


def adapters(case: Case) -> Checks:
    def values() -> None:
        weight, rank = case.tensor("W"), int(case.number("rank"))
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        linear.weight.data, linear.bias.data = weight, case.tensor("b")
        layer = TwoAdapters(linear, rank, case.number("scale"), "separate")
        assert layer.a["plain"].shape == (rank, weight.shape[1])
        for domain, letter in zip(DOMAINS, "st", strict=True):
            layer.a[domain].data, layer.b[domain].data = (
                case.tensor(f"A_{letter}"),
                case.tensor(f"B_{letter}"),
            )
            case.expect(f"y_{letter}", layer(case.tensor("x"), domain), rtol=1e-6, atol=1e-6)

    return {"values": values}


def decoupling(case: Case) -> Checks:
    def values() -> None:
        embedded = case.tensor("emb", grad=True)
        loss = supcon_out(embedded, case.tensor("labels"), temperature=case.number("temperature")).mean()
        case.expect("loss", loss, rtol=1e-8, atol=1e-10)
        case.expect("loss_official_supcon", loss, rtol=1e-5, atol=0.0)
        loss.backward()
        case.expect("grad_emb", embedded.grad, rtol=1e-8, atol=1e-10)

    return {"values": values}


KINDS = {
    "one_step": step,
    "gan_multilevel_sigmoid": gan,
    "cycle_identity": both_ways,
    "lora": adapters,
    "csd_reconstructed": decoupling,
}

test_stydeco = vector_tests({"stydeco": lambda case: KINDS[case.text("kind")](case)})
