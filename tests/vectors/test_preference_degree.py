"""Vectors of preference degrees: the joint loss with its gradients, and which tokens each degree keeps."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests

from counterpoint.objectives.preference.degree import degree, recognised
from counterpoint.objectives.preference.preference import Pair, pairwise
from counterpoint.objectives.reduction import Loss, total
from counterpoint.pairs.key_content import Phrase, keep_masks, removal_order

EXACT = {"rtol": 1e-10, "atol": 1e-13}


def loss(case: Case) -> Checks:
    def everything() -> None:
        leaves = {name: case.tensor(name, grad=True) for name in ("hidden", "head_weight", "head_bias")} | {
            f"policy_{side}": case.tensor(f"policy_{side}_logps", grad=True)
            for side in ("chosen", "rejected")
        }
        valid, labels = case.tensor("valid").bool(), case.tensor("degree_label").long()
        logits = leaves["hidden"] @ leaves["head_weight"].T + leaves["head_bias"]
        pair = Pair(
            leaves["policy_chosen"], leaves["policy_rejected"],
            case.tensor("ref_chosen_logps"), case.tensor("ref_rejected_logps"),
        )  # fmt: skip
        align = Loss(pairwise("sigmoid", pair, beta=case.number("beta")))
        graded = Loss(degree(logits[valid], labels[valid]), weight=case.number("gamma"))
        whole = total({"align": align, "degree": graded})
        case.expect("loss_align", align.mean(), **EXACT)
        case.expect("loss_degree", graded.mean(), **EXACT)
        case.expect("loss", whole, **EXACT)
        right = (recognised(logits[valid]) == labels[valid]).double().mean()
        case.expect("degree_accuracy", right, **EXACT)
        whole.backward()
        for name, leaf in leaves.items():
            case.expect(f"grad_{name}", leaf.grad, **EXACT)

    return {"everything": everything}


def removal(case: Case) -> Checks:
    def everything() -> None:
        starts, lengths, scores = (
            case.array(f"phrase_{name}").tolist() for name in ("start", "length", "score")
        )
        phrases = [Phrase(s, s + n, score) for s, n, score in zip(starts, lengths, scores)]
        case.expect("removal_order", torch.tensor(removal_order(phrases)), rtol=0)
        masks = keep_masks(int(case.number("n_tokens")), phrases, int(case.number("levels")))
        case.expect("keep_mask", masks, rtol=0)

    return {"everything": everything}


def preference_degree(case: Case) -> Checks:
    return {"loss": loss, "removal": removal}[case.text("kind")](case)


test_preference_degree = vector_tests({"preference-degree": preference_degree})
