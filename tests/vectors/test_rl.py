"""Similarity queries and contrastive exploration against the reference values."""

from __future__ import annotations

from functools import partial

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.evaluation.reward import feature_error
from counterpoint.judges.simulated import most_alike
from counterpoint.models.environment.categorical_q import _unit
from counterpoint.models.environment.low_rank import log_ratio, normalised
from counterpoint.models.environment.planning import equilibrium_gaps, plan, plan_game
from counterpoint.objectives.contrast.density_ratio import density_ratio
from counterpoint.objectives.control.distributional import (
    categorical_loss,
    categorical_target,
    priority,
    project,
    taken,
)
from counterpoint.objectives.control.exploration import covariance, elliptical_bonus, n_step
from counterpoint.objectives.control.ranking import bpr
from counterpoint.objectives.control.self_prediction import self_prediction, unit_range
from counterpoint.objectives.labels.similarity_query import answered_query

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def gradients(case: Case, loss: Tensor, leaves: dict[str, Tensor], **tolerance: float) -> None:
    loss.backward()
    for name, leaf in leaves.items():
        case.expect(f"grad_{name}", leaf.grad, **(tolerance or EXACT))


def similarity(case: Case) -> None:
    answer = case.tensor("answer").long()
    assert torch.equal(most_alike(case.tensor("true_features")), answer)
    z = case.tensor("embeddings")
    names = ("anchor", "positive", "negative")
    rows = {name: case.tensor(name, grad=True) for name in names}
    for column, name in enumerate(names):
        assert torch.equal(z[torch.arange(len(z)), answer[:, column]], rows[name].detach())
    values = answered_query(*rows.values(), margin=case.number("margin"))
    case.expect("per_query", values, **EXACT)
    case.expect("loss_mean", values.mean(), **EXACT)
    gradients(case, values.mean(), rows)


def preference(case: Case) -> None:
    leaves = {name: case.tensor(name, grad=True) for name in ("phi_a", "phi_b", "theta")}
    a, b = (leaves[name] @ leaves["theta"] for name in ("phi_a", "phi_b"))
    first = case.tensor("a_preferred").bool()
    loss = bpr(torch.where(first, a, b), torch.where(first, b, a), constant=0).mean()
    case.expect("loss", loss, **EXACT)
    case.expect("accuracy", float(((a > b) == first).double().mean()), **EXACT)
    gradients(case, loss, leaves)


def recovery(case: Case) -> None:
    names = ("embed_train", "features_train", "embed_test", "features_test")
    case.expect("fpe", feature_error(*(case.tensor(name) for name in names)), rtol=1e-8, atol=1e-8)


def sirl(case: Case) -> Checks:
    check = similarity if "answer" in case else preference if "theta" in case else recovery
    return {check.__name__: partial(check, case)}


def bonus(case: Case) -> None:
    sigma = case.tensor("Lambda_init")
    steps, discount, factor = int(case.number("n_step")), case.number("discount"), case.number("bonus_factor")
    for number in range(len([key for key in case.keys("step") if key.endswith("/features")])):
        action = case.tensor(f"step{number}/actions").long()
        phi = taken(case.tensor(f"step{number}/features"), action.flatten())
        sigma = sigma + covariance(phi, 0.0)
        case.expect(f"step{number}/Lambda", sigma, **EXACT)
        width = elliptical_bonus(phi, sigma, factor).view(action.shape)
        case.expect(f"step{number}/bonus", width, **EXACT)
        done = case.tensor(f"step{number}/done").bool()
        total = n_step(width, done, steps, discount, whole_window=False)
        case.expect(f"step{number}/bonus_return", total, **EXACT)


def c51(case: Case) -> None:
    logits = case.tensor("logits", grad=True)
    atoms = torch.linspace(case.number("V_min"), case.number("V_max"), logits.shape[-1], dtype=logits.dtype)
    online = case.tensor("online_next_probs")
    total, extra = case.tensor("n_step_return"), case.tensor("bonus_return")
    target = categorical_target(
        case.tensor("target_probs"),
        online if bool(case.number("double_dqn")) else None,
        total + extra if bool(case.number("use_bonus")) else total,
        case.tensor("done_n").bool(),
        atoms,
        case.number("discount") ** int(case.number("n")),
    )
    action = case.tensor("actions").long()
    losses = categorical_loss(logits, action, target)
    case.expect("losses", losses, **EXACT)
    case.expect("kl_priority", priority(logits, action, target), **EXACT)
    gradients(case, (case.tensor("grad_weight") * losses).sum(), {"logits": logits})


def spr(case: Case) -> None:
    prediction = case.tensor("pred", grad=True)
    loss = self_prediction(prediction, case.tensor("target")).mean(0)
    case.expect("loss", loss, rtol=1e-5, atol=1e-6)
    gradients(case, (case.tensor("grad_weight") * loss).sum(), {"pred": prediction}, rtol=1e-5, atol=1e-6)
    before = case.tensor("renorm_in")
    case.expect("renorm_out", unit_range(before, before.dim() - 1), rtol=1e-5, atol=1e-6)
    assert torch.equal(_unit(before.flatten(1)), unit_range(before.flatten(1)))


def contrast(case: Case) -> None:
    phi, psi = case.tensor("phi", grad=True), case.tensor("psi", grad=True)
    step = torch.arange(len(phi))[:, None]
    log_f = log_ratio(phi, psi, step, case.tensor("sa").long(), case.tensor("s_next").long())
    losses = density_ratio(log_f, case.tensor("y")).mean(1)
    case.expect("contrastive_loss", losses, **EXACT)
    gradients(case, losses.sum(), {"phi": phi, "psi": psi})


def planning(case: Case) -> None:
    model = normalised(case.tensor("phi"), case.tensor("psi"), case.tensor("p_neg"))
    for key, value in (("P_hat", model.transition), ("phi_hat", model.phi), ("psi_hat", model.psi)):
        case.expect(key, value, **EXACT)
    states, actions, opponents, horizon, _ = (int(n) for n in case.tensor("shape"))
    pairs = case.tensor("cov_sa").long()[..., None].expand(-1, -1, model.phi.shape[-1])
    sigma = covariance(model.phi.gather(1, pairs), case.number("lambda"), average=True)
    case.expect("Sigma", sigma, **EXACT)
    width = elliptical_bonus(model.phi, sigma, case.number("gamma"), cap=2.0 * horizon)
    case.expect("bonus", width, **EXACT)
    reward = case.tensor("reward")
    if "pi" in case:
        found = plan(model.transition, reward, width, states, float(horizon))
        case.expect("Q_bar", found.q, **EXACT)
        case.expect("V_bar", found.v, **EXACT)
        assert torch.equal(found.action, case.tensor("pi").long())
        return
    given = case.tensor("sigma")
    game = plan_game(
        model.transition,
        reward,
        width,
        (states, actions, opponents),
        float(horizon),
        lambda h: lambda q, p: given[h],
    )
    for key, value in (
        ("Q_bar", game.upper),
        ("Q_low", game.lower),
        ("V_bar", game.v_upper),
        ("V_low", game.v_lower),
    ):
        case.expect(key, value, **EXACT)
    first, second = equilibrium_gaps(game.upper, game.lower, given)
    case.expect("cce_gap_max_player", first, **EXACT)
    case.expect("cce_gap_min_player", second, **EXACT)


def contrastive_ucb(case: Case) -> Checks:
    if "Lambda_init" in case:
        return {"bonus": partial(bonus, case)}
    if "logits" in case:
        return {"c51": partial(c51, case)}
    if "pred" in case:
        return {"spr": partial(spr, case)}
    return {"contrast": partial(contrast, case), "planning": partial(planning, case)}


def test_projection_keeps_mass_and_mean() -> None:
    atoms = torch.linspace(-2, 2, 9, dtype=torch.float64)
    target = torch.rand(5, 9, dtype=torch.float64)
    target = target / target.sum(-1, keepdim=True)
    shifted = 0.3 + 0.5 * atoms.expand(5, 9)
    found = project(target, shifted, atoms)
    torch.testing.assert_close(found.sum(-1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close((found * atoms).sum(-1), (target * shifted).sum(-1))


test_rl = vector_tests({"sirl": sirl, "contrastive-ucb": contrastive_ucb})
