"""teacher-guidance: kernel chains from the authors' notebook, best weights, and the loss of its networks."""

from __future__ import annotations

import numpy as np
import torch
from harness import Case, Checks, vector_tests

from counterpoint.kernels import ridge
from counterpoint.models.regression.guided_ridge import GuidedRidge
from counterpoint.objectives.distillation.guidance import guided_error, norms


def chains(case: Case) -> Checks:
    alpha, lam, steps = case.number("alpha"), case.number("lam"), int(case.number("steps"))

    def fitted() -> GuidedRidge:
        settings = {"penalty": lam, "steps": steps, "weight": alpha, "gamma": float(case.number("gamma"))}
        return GuidedRidge(**settings).fit(case.array("X"), case.array("Y"))

    def wide(rows: np.ndarray) -> np.ndarray:
        return rows.reshape(len(rows), -1)

    def values() -> None:
        chain = fitted()
        case.expect("eigvals", chain.eigenvalues_, rtol=1e-6, atol=1e-12)
        case.expect("y_train", chain.fits_, rtol=1e-6, atol=1e-10)
        rows = case.array("x_test")
        predicted = [wide(chain.predict(rows, step=s + 1)) for s in range(steps)]
        case.expect("f_test", np.stack(predicted), rtol=1e-6, atol=1e-10)
        case.expect("f_inf", wide(chain.predict(rows, step="limit")), rtol=1e-6, atol=1e-10)

    def loop() -> None:
        """The chain by solving anew in every step."""
        gram, Y = case.tensor("K"), case.tensor("Y")
        fit, fits = Y, []
        for _ in range(steps):
            fit = gram @ ridge.ridge_coefficients(gram, alpha * Y + (1 - alpha) * fit, lam)
            fits.append(fit)
        case.expect("y_train", torch.stack(fits), rtol=1e-6, atol=1e-10)

    def spectrum() -> None:
        of = ridge.Spectrum.of(case.tensor("K"))
        shrinkage, weights = of.shrinkage(lam), [alpha] * steps
        case.expect("B", ridge.damping(shrinkage, weights), rtol=0, atol=1e-8)
        direct = [ridge.damping_at(shrinkage, weights[: s + 1]) for s in range(steps)]
        case.expect("B", torch.stack(direct), rtol=0, atol=1e-8)
        limit = ridge.limit_penalty(lam, alpha)
        case.expect("B_inf", of.values / (of.values + limit), rtol=0, atol=1e-8)

    def noiseless() -> None:
        """The figures of the authors' table: the sinusoid is sin(2 pi x)."""
        chain, rows = fitted(), case.array("x_test")
        truth = np.sin(2 * np.pi * rows[:, 0])
        fits = [*range(1, steps + 1), "limit"]
        found = [float(((wide(chain.predict(rows, step=s))[:, 0] - truth) ** 2).mean()) for s in fits]
        case.expect("noiseless_mse", np.array(found), rtol=0, atol=6e-6)

    checks = {"values": values, "loop": loop, "spectrum": spectrum}
    return checks | ({"noiseless": noiseless} if "noiseless_mse" in case else {})


def best(case: Case) -> Checks:
    def values() -> None:
        steps = int(case.number("steps"))
        held = case.array("X_val"), case.array("Y_val")
        settings = {"penalty": case.number("lam"), "steps": steps, "gamma": float(case.number("gamma"))}
        chain = GuidedRidge(**settings, weight="best", clip=False).fit(case.array("X"), case.array("Y"), held)
        case.expect("alpha_star", chain.raw_weights_[1:], rtol=1e-6)
        predicted = np.stack(
            [chain.predict(held[0], step=s + 1).reshape(held[1].shape) for s in range(steps)]
        )
        case.expect("f_val", predicted, rtol=1e-6, atol=1e-9)
        case.expect("y_train", chain.fits_, rtol=1e-6, atol=1e-9)
        case.expect("val_mse", chain.validation_error_, rtol=1e-6)
        alone = []
        for step in range(1, steps):
            weights = [*chain.weights_[:step], 0.0]
            one = GuidedRidge(**settings | {"steps": step + 1}, weight=weights).fit(
                case.array("X"), case.array("Y")
            )
            alone.append(one.predict(held[0]).reshape(held[1].shape))
        case.expect("f_val_alpha0", np.stack(alone), rtol=1e-6, atol=1e-9)

    return {"values": values}


def network(case: Case) -> Checks:
    def values() -> None:
        logits = case.tensor("student_logits", grad=True)
        weights = [case.tensor(name, grad=True) for name in ("w1", "w2")]
        teacher = case.tensor("teacher_logits").softmax(1)
        loss = guided_error(logits.softmax(1), case.tensor("onehot"), teacher, case.number("alpha")).mean()
        total = loss + case.number("reg") * norms(weights)
        case.expect("loss", total, rtol=1e-9)
        total.backward()
        for name, leaf in zip(("student_logits", "w1", "w2"), (logits, *weights), strict=True):
            case.expect(f"grad_{name}", leaf.grad, rtol=1e-9, atol=1e-15)

    return {"values": values}


test_guidance = vector_tests(
    {"teacher-guidance_krr": chains, "teacher-guidance_alpha": best, "teacher-guidance_nn": network}
)
