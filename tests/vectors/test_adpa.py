"""Vectors of ADPA and DCKD: the paper's advantage loss over the vocabulary, the stored one, the authors' program, and divergences."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.kernels.vocabulary import divergence, log_probs
from counterpoint.objectives.distillation.distribution_advantage import (
    TINY,
    advantage_loss,
    stored_advantage_loss,
    stored_forward_kl,
    top_of,
)
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.tokens import aggregate

NEAR = {"rtol": 1e-8, "atol": 1e-11}


def adpa(case: Case) -> Checks:
    def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        labels = case.tensor("labels").long()
        pair = case.tensor("dpo_teacher_logits"), case.tensor("ref_teacher_logits")
        return case.tensor("student_logits", grad=True), labels != -100, *pair, int(case.number("top_k"))

    def imitated() -> tuple[Tensor, Tensor, Tensor]:
        logits, labels = case.tensor("chosen_logits", grad=True), case.tensor("chosen_labels").long()
        mask = labels != -100
        logp = log_probs(logits, labels.clamp(min=0), mask=mask)
        return logits, mask, nll(logp.sum(1), mask.sum(1)).mean()

    def paper() -> None:
        student, mask, after, before, _ = inputs()
        per_token = advantage_loss(student, after, before, mask=mask)
        loss = aggregate(per_token, mask, "token_mean").mean()
        case.expect("adpa_paper", loss, **NEAR)
        case.expect("adpa_paper_seqmean", aggregate(per_token, mask, "sequence_mean").mean(), **NEAR)
        loss.backward()
        case.expect("grad_student_logits_paper", student.grad, **NEAR)

    def stored() -> None:
        student, mask, after, before, k = inputs()
        top = top_of(after, before, k)
        plain = aggregate(stored_advantage_loss(student, top, mask=mask), mask).mean()
        case.expect("adpa_topk_noclamp", plain, **NEAR)
        # The program clamps targets as if they were probabilities, those of the entries that it has not stored too.
        clip = (TINY, 1.0 - TINY)
        per_token = stored_advantage_loss(student, top, clip=clip, mask=mask, bounded=True)
        every = student.softmax(-1).clamp(TINY, 1.0 - TINY)
        left = every.scatter(-1, top.ids, 0.0).sum(-1).masked_fill(~mask, 0.0)
        code = aggregate(per_token - TINY * left, mask).mean()
        case.expect("adpa_code", code, **NEAR)
        chosen, _, imitation = imitated()
        case.expect("nll", imitation, **NEAR)
        total = imitation + case.number("gamma") * code
        case.expect("total_code", total, **NEAR)
        total.backward()
        case.expect("grad_student_logits_code", student.grad, **NEAR)
        case.expect("grad_chosen_logits", chosen.grad, **NEAR)

    def distilled() -> None:
        _, mask, _, _, k = inputs()
        alpha = case.number("alpha")
        chosen, chosen_mask, imitation = imitated()
        rejected = case.tensor("rejected_logits", grad=True)
        sides = {
            "chosen": (chosen, chosen_mask, case.tensor("teacher_chosen_logits")),
            "rejected": (rejected, mask, case.tensor("teacher_rejected_logits")),
        }
        case.expect("sft", imitation, **NEAR)
        kls = {}
        for name, (student, inside, teacher) in sides.items():
            short = stored_forward_kl(student, top_of(teacher, None, k), mask=inside, bounded=True)
            kls[name] = (
                aggregate(short, inside).mean(),
                aggregate(divergence(student, teacher, mask=inside), inside).mean(),
            )
            case.expect(f"kl_{name}_topk", kls[name][0], **NEAR)
            case.expect(f"kl_{name}_full", kls[name][1], **NEAR)
        short, full = (imitation + alpha * (kls["chosen"][at] + kls["rejected"][at]) for at in (0, 1))
        case.expect("dckd_topk", short, **NEAR)
        case.expect("dckd_full", full, **NEAR)
        grads = torch.autograd.grad(short, (chosen, rejected), retain_graph=True)
        case.expect("grad_chosen_logits_dckd_topk", grads[0], **NEAR)
        case.expect("grad_rejected_logits_dckd_topk", grads[1], **NEAR)
        (whole,) = torch.autograd.grad(kls["rejected"][1], rejected)
        case.expect("grad_rejected_logits_kl_full", whole, **NEAR)

    return {"paper": paper, "stored": stored, "distilled": distilled}


test_adpa = vector_tests({"adpa": adpa})
