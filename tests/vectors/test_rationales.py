"""Vectors of QCRD: cross-entropies, the chosen rationales, every loss, and the gradients of the whole and of the judge's."""

from __future__ import annotations

from dataclasses import replace

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.kernels.vocabulary import log_probs
from counterpoint.objectives.distillation import rationales
from counterpoint.objectives.preference.likelihood import nll

TOLERANCE = {"rtol": 1e-9, "atol": 1e-12}


def entropy(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean token cross-entropy, [...]; T axis last of labels."""
    flat = logits.flatten(0, -3)
    logp = log_probs(flat, labels.flatten(0, -2), mask=mask.flatten(0, -2).bool())
    return nll(logp.sum(1), mask.flatten(0, -2).sum(1).long(), "sequence_mean").values.view(labels.shape[:-1])


def qcrd(case: Case) -> Checks:
    def everything() -> None:
        positive, negative, answer = (
            case.tensor(f"{name}_logits", grad=True) for name in ("pos", "neg", "answer")
        )
        raw = [case.tensor(f"{name}_score_raw", grad=True) for name in ("pos", "neg")]
        labels, masks = (
            [case.tensor(f"{name}_{what}") for name in ("pos", "neg", "answer")]
            for what in ("labels", "mask")
        )
        valid = [case.tensor(f"{name}_valid").bool() for name in ("pos", "neg")]
        beta, margin = case.number("beta"), case.number("margin")
        good, bad = (entropy(x, labels[i], masks[i]) for i, x in enumerate((positive, negative)))
        scores = [each.sigmoid() for each in raw]
        case.expect("ce_pos", good, **TOLERANCE)
        case.expect("ce_neg", bad, **TOLERANCE)
        case.expect("ce_neg_margin", rationales.margined(bad, margin), **TOLERANCE)
        loss = rationales.contrasted(
            good, bad, *valid, positive_scores=scores[0], negative_scores=scores[1], beta=beta, margin=margin
        )
        case.expect("index_pos", rationales.chosen(good, valid[0], "min")[1], rtol=0)
        case.expect(
            "index_neg", rationales.chosen(rationales.margined(bad, margin), valid[1], "max")[1], rtol=0
        )
        case.expect("loss_pos", loss.stats["positive"], **TOLERANCE)
        case.expect("loss_neg", loss.stats["negative"], **TOLERANCE)
        case.expect("loss_cl", loss.mean(), **TOLERANCE)
        printed, nce = (rationales.judged(*scores, *valid, form=form) for form in ("ratio", "nce"))  # type: ignore[arg-type]
        case.expect("loss_D_printed", printed.mean(), **TOLERANCE)
        case.expect("loss_D_nce", nce.mean(), **TOLERANCE)
        predicted = entropy(answer, labels[2], masks[2]).mean()
        case.expect("loss_pred", predicted, **TOLERANCE)
        terms = (replace(loss, weight=case.number("alpha2")), replace(printed, weight=case.number("alpha3")))
        total = case.number("alpha1") * predicted + sum(term.weight * term.mean() for term in terms)
        case.expect("loss_total", total, **TOLERANCE)
        for name, grad in zip(("pos", "neg"), torch.autograd.grad(nce.mean(), raw, retain_graph=True)):
            case.expect(f"grad_D_nce_{name}_score_raw", grad, **TOLERANCE)
        total.backward()
        leaves = {"pos_logits": positive, "neg_logits": negative, "answer_logits": answer}
        for name, leaf in (leaves | {"pos_score_raw": raw[0], "neg_score_raw": raw[1]}).items():
            case.expect(f"grad_{name}", leaf.grad, **TOLERANCE)

    return {"everything": everything}


test_rationales = vector_tests({"qcrd": qcrd})
