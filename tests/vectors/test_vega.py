"""Vectors of Vega: disentangled attention, replaced tokens, sentence contrast, adversarial fine-tuning, rules for labels."""

from __future__ import annotations

from functools import partial

import torch
from harness import Case, vector_tests
from torch.nn.functional import cross_entropy, linear

from counterpoint.kernels.scores import Head
from counterpoint.models.text.disentangled import attention, configuration
from counterpoint.objectives.contrast.infonce import info_nce
from counterpoint.objectives.labels import adversarial, replaced_tokens, self_labels
from counterpoint.objectives.reduction import Loss, total

EXACT = {"rtol": 1e-9, "atol": 1e-12}
SINGLE = {"rtol": 1e-4, "atol": 1e-6}
ATTENTION = {"rtol": 1e-6, "atol": 1e-9}


def _attention(case: Case) -> None:
    x, table = case.tensor("x", grad=True), case.tensor("rel_embeddings", grad=True)
    reach = int(case.number("k"))
    assert len(table) == 2 * reach
    config = configuration(
        10,
        width=x.shape[-1],
        heads=int(case.number("n_heads")),
        reach=reach,
        dropout=0.0,
        content_to_position=bool(case.number("c2p")),
        position_to_content=bool(case.number("p2c")),
        share_projections=bool(case.number("share_projections")),
    )
    layer = attention(config).double().eval()
    layer.load_state_dict({key[2:]: case.tensor(key) for key in case.keys("w/")})
    valid = case.tensor("attention_mask")
    both = valid[:, None, None, :] * valid[:, None, :, None]
    out, probabilities = layer(x, both, output_attentions=True, rel_embeddings=table)
    out.backward(case.tensor("cotangent"))
    case.expect("probs", probabilities, **ATTENTION)
    case.expect("out", out, **ATTENTION)
    case.expect("grad_x", x.grad, **ATTENTION)
    case.expect("grad_rel", table.grad, **ATTENTION)


def _rtd(case: Case, head: bool) -> None:
    original, gaps, mask = case.tensor("original_ids"), case.tensor("masked"), case.tensor("attention_mask")
    logits, found = case.tensor("generator_logits", grad=True), case.tensor("discriminator_logits", grad=True)
    corrupted = replaced_tokens.corrupt(original, gaps, case.tensor("sampled_ids"))
    case.expect("corrupted_ids", corrupted, rtol=0)
    case.expect("labels", replaced_tokens.replaced(original, corrupted).double(), rtol=0)
    scores = Head(logits, torch.eye(logits.shape[-1], dtype=logits.dtype)) if head else logits
    terms = {
        "mlm": replaced_tokens.generator_loss(scores, original, gaps),
        "rtd": replaced_tokens.detection_loss(found, original, corrupted, mask, case.number("rtd_weight")),
    }
    loss = total(terms)
    loss.backward()
    case.expect("mlm", terms["mlm"].mean(), **EXACT)
    case.expect("rtd", terms["rtd"].mean(), **EXACT)
    case.expect("loss", loss, **EXACT)
    case.expect("grad_generator_logits", logits.grad, **EXACT)
    case.expect("grad_discriminator_logits", found.grad, **EXACT)


def _contrast(case: Case) -> None:
    first, second = case.tensor("z1", grad=True), case.tensor("z2", grad=True)
    values = info_nce(first, second, temperature=case.number("temperature"))
    values.mean().backward()
    both = {
        "rtd": Loss(case.tensor("rtd_example").view(1)),
        "contrast": Loss(values, weight=case.number("phase2_weight")),
    }
    case.expect("loss", values.mean(), **EXACT)
    case.expect("phase2_total", total(both), **EXACT)
    case.expect("grad_z1", first.grad, **EXACT)
    case.expect("grad_z2", second.grad, **EXACT)


def _sift(case: Case) -> None:
    w1, w2 = case.tensor("w1", grad=True), case.tensor("w2", grad=True)
    b1, b2 = case.tensor("b1"), case.tensor("b2")
    clean = adversarial.normalised(case.tensor("embeddings"))

    def answer(states: torch.Tensor) -> torch.Tensor:
        return linear(torch.tanh(linear(states, w1, b1)).mean(1), w2, b2)

    start, std = case.tensor("delta_init"), case.number("init_std")
    assert float(start.abs().max()) <= 2 * std * (1 + 1e-6)
    logits = answer(clean)
    delta = adversarial.worst_noise(
        lambda noise: answer(adversarial.disturbed(clean, noise)),
        start,
        logits,
        step=case.number("step_size"),
        kind=case.text("inner_loss"),  # type: ignore[arg-type]
    )
    assert w1.grad is None
    given = case.tensor("delta_step")
    terms = {
        "label": Loss(cross_entropy(logits, case.tensor("labels"), reduction="none")),
        "adversarial": Loss(
            adversarial.symmetric_cross_entropy(answer(adversarial.disturbed(clean, given)), logits),
            weight=case.number("weight"),
        ),
    }
    loss = total(terms)
    loss.backward()
    case.expect("normalised", clean, **SINGLE)
    case.expect("clean_logits", logits, **SINGLE)
    # Almost nothing departs at the start, so that the direction of a step is a difference of near equals: in float32 the file's
    # is 2.3e-4 of a step from the exact one, and each processor rounds another way.
    case.expect("delta_step", delta, rtol=0, atol=5e-4 * case.number("step_size"))
    case.expect("ce", terms["label"].mean().double(), **SINGLE)
    case.expect("adv_loss", terms["adversarial"].mean().double(), **SINGLE)
    case.expect("loss", loss.double(), **SINGLE)
    case.expect("grad_w1", w1.grad, **SINGLE)
    case.expect("grad_w2", w2.grad, **SINGLE)


def _transductive(case: Case) -> None:
    unlabelled, train = case.tensor("t_test_logits", grad=True), case.tensor("t_train_logits", grad=True)
    labels, selected = self_labels.pseudo_labels(unlabelled, case.number("t_threshold"))
    case.expect("t_pseudo_labels", labels, rtol=0)
    case.expect("t_selected", selected, rtol=0)
    own = cross_entropy(train, case.tensor("t_train_labels"), reduction="none")
    loss = total(
        {
            "label": own,
            "own": self_labels.pseudo_label_loss(unlabelled, labels, selected, case.number("t_weight")),
        }
    )
    loss.backward()
    case.expect("t_loss", loss, **EXACT)
    case.expect("t_grad_train_logits", train.grad, **EXACT)
    case.expect("t_grad_test_logits", unlabelled.grad, **EXACT)


def _calibration(case: Case) -> None:
    probabilities, labels = case.tensor("c_oof_probs"), case.tensor("c_labels")
    mended = self_labels.repair(probabilities, labels, case.number("c_low"), case.number("c_high"))
    case.expect("c_action", mended.action, rtol=0)
    case.expect("c_new_labels", mended.labels, rtol=0)
    case.expect("c_soft_targets", self_labels.blended(probabilities, labels, case.number("c_mix")), **EXACT)


test_vega = vector_tests(
    {
        "vega_attention": lambda case: {"attention": partial(_attention, case)},
        "vega_rtd": lambda case: {"dense": partial(_rtd, case, False), "head": partial(_rtd, case, True)},
        "vega_contrast": lambda case: {"contrast": partial(_contrast, case)},
        "vega_sift": lambda case: {"sift": partial(_sift, case)},
        "vega_finetune_rules": lambda case: {
            "transductive": partial(_transductive, case),
            "calibration": partial(_calibration, case),
        },
    }
)
