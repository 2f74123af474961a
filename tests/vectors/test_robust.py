"""Vectors of SogCLR and iSogCLR: whole sequences of steps replayed with their per-sample state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.objectives.contrast.global_contrast import (
    Robust,
    best_temperature,
    descend,
    robust_pairs,
    robust_views,
)

TOLERANCE = {"rtol": 1e-7, "atol": 1e-11}


class Table:
    """Temperatures, log averages and momenta of all samples."""

    def __init__(self, case: Case) -> None:
        n = int(case.number("n_samples"))
        self.tau = torch.full((n,), case.number("tau_init"), dtype=torch.float64)
        self.log_s = torch.full((n,), -torch.inf, dtype=torch.float64)
        self.momentum = torch.zeros(n, dtype=torch.float64)
        self.limits = {
            "low": case.number("tau_min"),
            "high": case.number("tau_max"),
            "step": case.number("eta"),
        }
        self.limits["beta"] = case.number("beta")

    def store(self, index: Tensor, result: Robust, clip: float | None, move: bool = True) -> None:
        self.log_s[index] = result.log_average
        if move:
            self.tau[index], self.momentum[index] = descend(
                self.tau[index], self.momentum[index], result.temperature_gradient, clip=clip, **self.limits
            )


def unimodal(case: Case) -> Checks:
    def replay() -> None:
        table, z1, z2 = Table(case), case.tensor("z1"), case.tensor("z2")
        index, epoch = case.tensor("index"), case.tensor("epoch")
        values, grads, states = [], ([], []), {"tau_after": [], "s_after": [], "tau_momentum_after": []}
        for t in range(len(z1)):
            a, b = z1[t].clone().requires_grad_(), z2[t].clone().requires_grad_()
            result = robust_views(
                a, b, table.tau[index[t]], table.log_s[index[t]], gamma=case.number("gamma"), rho=case.number("rho"),
                fresh=bool(epoch[t] == 0), normalize=False,
            )  # fmt: skip
            result.values.mean().backward()
            table.store(index[t], result, case.number("grad_clip"))
            values.append(result.values.mean().detach())
            grads[0].append(a.grad)
            grads[1].append(b.grad)
            states["tau_after"].append(table.tau.clone())
            states["s_after"].append(table.log_s.exp())
            states["tau_momentum_after"].append(table.momentum.clone())
        case.expect("surrogate_loss", torch.stack(values), **TOLERANCE)
        case.expect("grad_z1", torch.stack(grads[0]), **TOLERANCE)
        case.expect("grad_z2", torch.stack(grads[1]), **TOLERANCE)
        for name, rows in states.items():
            case.expect(name, torch.stack(rows), **TOLERANCE)

    return {"replay": replay}


def libauc(case: Case) -> Checks:
    def replay(name: str) -> None:
        table, x1, x2 = Table(case), case.tensor("x1"), case.tensor("x2")
        index, epoch = case.tensor("index"), case.tensor("epoch")
        values, grads, taus, averages = [], [], [], []
        for t in range(len(x1)):
            u = torch.nn.functional.normalize(x1[t], dim=1).requires_grad_()
            result = robust_views(
                u, x2[t], table.tau[index[t]], table.log_s[index[t]], gamma=case.number("gamma"), rho=case.number("rho"),
                fresh=bool(epoch[t] == 0),
            )  # fmt: skip
            result.values.mean().backward()
            table.store(index[t], result, None, move=name == "isogclr")
            values.append(result.values.mean().detach())
            grads.append(u.grad)
            taus.append(table.tau.clone())
            averages.append(table.log_s.exp())
        case.expect(f"{name}/surrogate_loss", torch.stack(values), **TOLERANCE)
        case.expect(f"{name}/grad_z1", torch.stack(grads), **TOLERANCE)
        case.expect(f"{name}/s_after", torch.stack(averages), **TOLERANCE)
        if f"{name}/tau_after" in case:
            case.expect(f"{name}/tau_after", torch.stack(taus), **TOLERANCE)

    return {name: partial(replay, name) for name in case.losses()}


def bimodal(case: Case) -> Checks:
    def replay() -> None:
        image, text = Table(case), Table(case)
        z_image, z_text, index = case.tensor("z_image"), case.tensor("z_text"), case.tensor("index")
        rows: dict[str, list[Tensor]] = {}

        def keep(name: str, value: Tensor) -> None:
            rows.setdefault(name, []).append(value.detach().clone())

        for t in range(len(z_image)):
            i = index[t]
            a, b = z_image[t].clone().requires_grad_(), z_text[t].clone().requires_grad_()
            settings = {"gamma": case.number("gamma"), "rho": case.number("rho"), "normalize": False}
            sides = (
                robust_pairs(a, b, image.tau[i], image.log_s[i], **settings),
                robust_pairs(b, a, text.tau[i], text.log_s[i], **settings),
            )
            loss = sides[0].values.mean() + sides[1].values.mean()
            loss.backward()
            for table, side in zip((image, text), sides):
                table.store(i, side, case.number("grad_clip"))
            keep("surrogate_loss", loss)
            keep("grad_z_image", a.grad)
            keep("grad_z_text", b.grad)
            for name, table in (("image", image), ("text", text)):
                keep(f"tau_{name}_after", table.tau)
                keep(f"log_{name}", table.log_s)
            keep("u_image_after", image.momentum)
        # The file keeps s relative to a running maximum b; together they are our logarithm.
        for name in ("image", "text"):
            stored = case.tensor(f"s_{name}_after").log() + case.tensor(f"b_{name}_after")
            torch.testing.assert_close(torch.stack(rows.pop(f"log_{name}")), stored, rtol=1e-7, atol=1e-8)
        for name, values in rows.items():
            case.expect(name, torch.stack(values), rtol=1e-7, atol=1e-9)

    return {"replay": replay}


def dual(case: Case) -> Checks:
    def exact() -> None:
        tau, value, p = best_temperature(case.tensor("h"), case.tensor("rho"), case.number("tau0"))
        case.expect("tau_star", tau, rtol=1e-5)
        case.expect("value", value, rtol=1e-8, atol=1e-9)
        case.expect("p_star", p, rtol=1e-4, atol=1e-7)

    return {"exact": exact}


HANDLERS: dict[str, Callable[[Case], Checks]] = {
    "isogclr_unimodal": unimodal,
    "isogclr_libauc_unimodal": libauc,
    "isogclr_bimodal": bimodal,
    "isogclr_dual": dual,
}
test_robust = vector_tests(HANDLERS)
