"""Conformance of self-distillation with privileged information and hindsight: pi-Distill, OPSD, user interactions."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.kernels.vocabulary import divergence, entropy, log_probs
from counterpoint.objectives.distillation.hindsight import advantages, token_losses, without_first
from counterpoint.objectives.distillation.privileged import (
    joint,
    shaped_rewards,
    surrogate,
    teacher_to_student,
    towards_teacher,
)
from counterpoint.objectives.preference.advantage import group_relative
from counterpoint.objectives.reduction import Loss, total
from counterpoint.objectives.tokens import aggregate

TOL = {"rtol": 1e-9, "atol": 1e-12}
AGGREGATIONS = {
    "token-mean": "token_mean",
    "seq-mean-token-mean": "sequence_mean",
    "seq-mean-token-sum": "sequence_sum",
    "seq-mean-token-sum-norm": "constant",
}


def grads(value: Tensor, *leaves: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, found)]


def fork(case: Case) -> Checks:
    """The authors' loss block, which takes log-probabilities; its OPSD term is the faulty one of its code."""
    how = case.text("loss_agg_mode")
    names = ("teacher_logps", "student_logps")
    settings = {
        "low": case.number("clip"),
        "high": case.number("clip"),
        "aggregation": AGGREGATIONS[how],
        "max_length": case.array("mask").shape[-1],
    }

    def mean(term: Loss) -> Tensor:
        if (
            how == "seq-mean-token-mean"
        ):  # the program adds 1e-8 to a row's length, which the equation does not
            count = case.tensor("mask").sum(-1)
            return Loss(term.values * count / (count + 1e-8), term.counts).mean()
        # "norm" divides the whole sum by the padded length; here each row's sum is, and rows are averaged.
        return term.mean() * (len(term.values) if how.endswith("norm") else 1)

    def loss() -> None:
        teacher, student = (case.tensor(name, grad=True) for name in names)
        old, advantage, mask = (case.tensor(name) for name in ("old_logps", "advantages", "mask"))
        capped = {**settings, "dual_clip": case.number("dual_clip")}
        terms = (
            surrogate(teacher, old, advantage, mask, **capped),
            surrogate(student, teacher, advantage, mask, **settings),
        )
        value = sum(term.weight * mean(term) for term in joint(*terms, case.number("alpha")).values())
        for name, term in zip(("teacher_loss", "student_loss"), terms):
            case.expect(name, mean(term), **TOL)
        case.expect("loss", value, **TOL)
        for name, grad in zip(names, grads(value, teacher, student)):
            case.expect(f"grad_{name}", grad, **TOL)

    def fork_opsd() -> None:
        student, teacher = case.tensor("student_logps", grad=True), case.tensor("teacher_logps")
        old, advantage, mask = (case.tensor(name) for name in ("old_logps", "advantages", "mask"))
        policy = surrogate(student, old, advantage, mask, **settings, dual_clip=case.number("dual_clip"))
        ratio = aggregate(teacher - student, mask, settings["aggregation"], max_length=settings["max_length"])
        value = mean(policy) + case.number("opsd_coef") * mean(Loss(ratio.values, policy.counts))
        case.expect("fork_opsd_loss", value, **TOL)
        case.expect("grad_fork_opsd_student_logps", grads(value, student)[0], **TOL)

    return {"loss": loss, "fork_opsd": fork_opsd}


def of_groups(rewards: Tensor, group: Tensor) -> Tensor:
    """Reward minus the mean of its group, by the groups' numbers."""
    found = torch.zeros_like(rewards)
    for number in group.unique():
        rows = group == number
        found[rows] = group_relative(rewards[rows], int(rows.sum()), scale="none")
    return found


def objective(case: Case) -> Checks:
    """The paper's equations, on logits."""
    clip = {"low": 1.0 - case.number("clip_low"), "high": case.number("clip_high") - 1.0}

    def logp(logits: Tensor) -> Tensor:
        return log_probs(logits, case.tensor("response_ids"), mask=case.tensor("mask").bool())

    def pid() -> None:
        teacher, student = (case.tensor(f"{name}_logits", grad=True) for name in ("teacher", "student"))
        mask, beta = case.tensor("mask"), case.number("beta")
        kl = teacher_to_student(teacher, student, mask)
        how = case.text("kl_reduction")
        shaped = shaped_rewards(case.tensor("rewards"), kl, mask, beta, how)
        advantage = of_groups(shaped, case.tensor("group"))
        reduced = kl.sum(-1) if how == "sum" else kl.sum(-1) / mask.sum(-1)
        terms = (
            surrogate(logp(teacher), logp(case.tensor("old_teacher_logits")), advantage, mask, **clip),
            surrogate(logp(student), logp(teacher), advantage, mask, **clip),
        )
        value = total(joint(*terms, case.number("alpha")))
        found = {
            "kl": reduced, "shaped_reward": shaped, "advantage": advantage, "teacher_loss": terms[0].mean(),
            "student_loss": terms[1].mean(), "loss": value,
        }  # fmt: skip
        for name, tensor in found.items():
            case.expect(f"pid_{name}", tensor, **TOL)
        for name, grad in zip(("teacher", "student"), grads(value, teacher, student)):
            case.expect(f"pid_grad_{name}_logits", grad, **TOL)

    def opsd() -> None:
        student, teacher = case.tensor("student_logits", grad=True), case.tensor("teacher_logits")
        mask = case.tensor("mask")
        advantage = of_groups(case.tensor("rewards"), case.tensor("group"))
        policy = surrogate(logp(student), logp(case.tensor("old_student_logits")), advantage, mask, **clip)
        kl = aggregate(towards_teacher(student, teacher, mask), mask)
        value = policy.mean() + case.number("beta") * kl.mean()
        case.expect("opsd_advantage", advantage, **TOL)
        case.expect("opsd_pg_loss", policy.mean(), **TOL)
        case.expect("opsd_kl", kl.mean(), **TOL)
        case.expect("opsd_loss", value, **TOL)
        case.expect("opsd_grad_student_logits", grads(value, student)[0], **TOL)

    def dist() -> None:
        student, teacher = case.tensor("student_logits", grad=True), case.tensor("teacher_logits")
        mask, c = case.tensor("mask"), case.number("entropy_coef")
        value = aggregate(towards_teacher(student, teacher, mask, entropy_coefficient=c), mask).mean()
        crossed = aggregate(towards_teacher(student, teacher, mask, entropy_coefficient=0.0), mask).mean()
        case.expect("dist_loss", value, **TOL)
        case.expect("dist_cross_entropy", crossed, **TOL)
        case.expect("dist_entropy", aggregate(entropy(student, mask=mask.bool()), mask).mean(), **TOL)
        case.expect("dist_grad_student_logits", grads(value, student)[0], **TOL)

    return {"pid": pid, "opsd": opsd, "dist": dist}


def hindsight(case: Case) -> Checks:
    """The authors' offline loss, and the full KL of the equations."""
    ids = case.tensor("completion_ids")

    def mask_of() -> Tensor:
        mask = (ids != int(case.number("pad_id"))).double()
        return without_first(mask, int(case.number("ignore_first_k")))

    def loss() -> None:
        student, teacher, mask = (
            case.tensor("student_logits", grad=True),
            case.tensor("teacher_logits"),
            mask_of(),
        )
        logp, after = (log_probs(z, ids, mask=mask.bool()) for z in (student, teacher))
        advantage = advantages(logp, after, mask)
        value = aggregate(token_losses(logp, advantage, mask), mask, "sequence_mean").mean()
        case.expect("advantage", advantage, **TOL)
        case.expect("loss", value, **TOL)
        case.expect("grad_student_logits", grads(value, student)[0], **TOL)

    def full() -> None:
        student, teacher, mask = (
            case.tensor("student_logits", grad=True),
            case.tensor("teacher_logits"),
            mask_of(),
        )
        value = aggregate(
            divergence(student, teacher, "reverse", mask=mask.bool()), mask, "sequence_sum"
        ).mean()
        case.expect("full_kl_sum", value, **TOL)
        case.expect("grad_full_kl_student_logits", grads(value, student)[0], **TOL)

    return {"loss": loss, "full": full}


def hindsight_online(case: Case) -> Checks:
    """The authors' online loss: centred advantages under the old weights, clipping, k1 to a reference as a loss."""

    def loss() -> None:
        logp, mask = case.tensor("logps", grad=True), case.tensor("mask")
        old, after, reference = (case.tensor(name) for name in ("old_logps", "teacher_logps", "ref_logps"))
        advantage = advantages(old, after, mask, "sequence")
        clip = {"low": case.number("eps_low"), "high": case.number("eps_high")}
        losses = token_losses(logp, advantage, mask, old_BT=old, **clip)
        losses = losses + case.number("beta") * (logp - reference)
        value = aggregate(losses, mask, "sequence_mean").mean()
        case.expect("loss", value, **TOL)
        case.expect("grad_logps", grads(value, logp)[0], **TOL)

    return {"loss": loss}


test_privileged = vector_tests(
    {
        "pi-distill": fork,
        "pi-distill_objective": objective,
        "user-interactions": hindsight,
        "user-interactions_online": hindsight_online,
    }
)
