"""distiller: the authors' losses, mutual information with its critics, layer maps, and transport plans."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests
from torch import nn

from counterpoint.models.text.critic import Critic
from counterpoint.objectives.distillation.layer_map import layer_pairs, transport_plan
from counterpoint.objectives.distillation.layer_states import prediction_loss, state_loss
from counterpoint.objectives.distillation.mutual_information import (
    infonce_bound,
    interpolated_bound,
    tuba_bound,
)


def information(case: Case) -> Checks:
    def values() -> None:
        scores, baseline = case.tensor("scores", grad=True), case.tensor("log_baseline", grad=True)
        bound = interpolated_bound(scores, baseline, case.number("alpha")).mean()
        (-bound).backward()
        case.expect("mi", bound, rtol=1e-7)
        case.expect("loss", -bound, rtol=1e-7)
        case.expect("grad_scores", scores.grad, rtol=1e-7, atol=1e-12)
        case.expect("grad_log_baseline", baseline.grad, rtol=1e-7, atol=1e-12)
        case.expect("mi_infonce", infonce_bound(scores).mean(), rtol=1e-7)
        case.expect("mi_tuba", tuba_bound(scores, baseline).mean(), rtol=1e-7)
        case.expect("mi_nwj", tuba_bound(scores, torch.ones_like(baseline)).mean(), rtol=1e-7)

    return {"values": values}


def critic(case: Case) -> Checks:
    def values() -> None:
        student, teacher = case.tensor("student", grad=True), case.tensor("teacher")
        hidden, out = len(case.array("critic_s_b0")), len(case.array("critic_s_b2"))
        model = Critic(student.shape[2], teacher.shape[2], hidden, out).double()
        parts = {"critic_s": model.student, "critic_t": model.teacher, "baseline": model.baseline}
        for name, part in parts.items():
            for number in range(3):
                linear: nn.Linear = part[2 * number]
                linear.weight.data.copy_(case.tensor(f"{name}_w{number}"))
                linear.bias.data.copy_(case.tensor(f"{name}_b{number}"))
        loss = -interpolated_bound(*model(student[:, 0], teacher[:, 0]), case.number("alpha")).mean()
        loss.backward()
        case.expect("loss", loss, rtol=1e-7, atol=1e-12)
        case.expect("grad_student", student.grad, rtol=1e-7, atol=1e-12)
        for name, part in parts.items():
            for number in range(3):
                case.expect(f"grad_{name}_w{number}", part[2 * number].weight.grad, rtol=1e-7, atol=1e-12)

    return {"values": values}


def base(case: Case) -> Checks:
    def predictions() -> None:
        for kind in ("mse", "ce"):
            student = case.tensor("logits_s", grad=True)
            loss = prediction_loss(student, case.tensor("logits_t"), kind, case.number("temperature")).mean()
            loss.backward()
            case.expect(f"kd_{kind}", loss, rtol=1e-7)
            case.expect(f"grad_kd_{kind}", student.grad, rtol=1e-7, atol=1e-12)

    def states() -> None:
        for name, kind in (("hid_mse", "mse"), ("hid_ce", "ce"), ("cos", "cosine"), ("pkd", "pkd")):
            student = case.tensor("hidden_s", grad=True)
            loss = state_loss(student, case.tensor("hidden_t"), case.tensor("mask"), kind).mean()
            loss.backward()
            case.expect(name, loss, rtol=1e-7)
            case.expect(f"grad_{name}", student.grad, rtol=1e-7, atol=1e-12)

    return {"predictions": predictions, "states": states}


def maps(case: Case) -> Checks:
    def values() -> None:
        sizes = int(case.number("n_student")), int(case.number("n_teacher"))
        for kind in ("skip", "last"):
            for part in ("hidden", "attention"):
                pairs = layer_pairs(kind, *sizes, attention=part == "attention")
                case.expect(f"{kind}_{part}", torch.tensor(pairs), rtol=0)

    return {"values": values}


def transport(case: Case) -> Checks:
    def values() -> None:
        cost = case.tensor("cost", grad=True)
        plan = transport_plan(cost)
        loss = (plan * cost).sum()
        loss.backward()
        case.expect("flow", plan, rtol=1e-8, atol=1e-10)
        case.expect("loss", loss, rtol=1e-8)
        case.expect("grad_cost", cost.grad, rtol=1e-8, atol=1e-10)

    return {"values": values}


test_distiller = vector_tests(
    {
        "distiller_mi": information,
        "distiller_critic": critic,
        "distiller_base": base,
        "distiller_map": maps,
        "distiller_emd": transport,
    }
)
