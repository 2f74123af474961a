"""UniSD's loss: on-policy self-distillation with agreement, clipping, contrast and feature matching (2605.06597, eq. 1).

L = aggregate(m w min(D, cap)) + contrast_weight L_con + match_weight L_feat, each part optional and each a named term.
D compares the student on its prompt with the same model shown a demonstration, at the sampling temperature; the
agreement weights w come from further contexts, at temperature 1. Shapes: B sequences, T tokens, K contexts, d width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.divergence_rows import FORWARD, Kind
from counterpoint.kernels.scores import Scores, Sparse
from counterpoint.kernels.vocabulary import divergence, entropy, log_probs
from counterpoint.objectives.distillation.agreement import sequence_agreement, token_agreement
from counterpoint.objectives.distillation.clipping import adaptive_cap, clip
from counterpoint.objectives.distillation.matching import feature_distance
from counterpoint.objectives.distillation.token_contrast import token_contrast
from counterpoint.objectives.preference.policy import high_entropy
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import aggregate, sequence_mean


@dataclass(frozen=True)
class Mechanisms:
    """Which of UniSD's mechanisms are on; the default is plain forward KL.

    Attributes:
        kind: the divergence D.
        temperature: of student, teacher and negative teacher; the sampling temperature.
        cap, cap_quantile: clip D at a number, or at a batch quantile of D.
        agreement: weights per token, per sequence, or none.
        gamma, stat, quantile, spread_cap: of the agreement weights.
        normalise: whether weights are normalised inside each sequence (where sequence weights cancel) or over the batch.
        contrast_weight, contrast_margin: of the hinge against a wrong demonstration; weight 0 is off.
        match_weight: of feature matching; 0 is off.
        match_only: train on feature matching alone.
        entropy_share: below 1, only that share of tokens with the highest student entropy keeps its D.
    """

    kind: Kind = FORWARD
    temperature: float = 0.7
    cap: float | None = None
    cap_quantile: float | None = None
    agreement: Literal["none", "token", "sequence"] = "none"
    gamma: float = 0.01
    stat: Literal["var", "range"] = "var"
    quantile: float = 0.95
    spread_cap: float = 10.0
    normalise: Literal["per_sequence", "batch"] = "per_sequence"
    contrast_weight: float = 0.0
    contrast_margin: float = 0.5
    match_weight: float = 0.0
    match_only: bool = False
    entropy_share: float = 1.0


def self_distillation(
    student: Scores,
    teacher: Scores | Sparse,
    ids_BT: Tensor,
    mask_BT: Tensor,
    on: Mechanisms,
    *,
    context_logp_KBT: Tensor | None = None,
    negative: Scores | None = None,
    student_hidden_BTd: Tensor | None = None,
    teacher_hidden_BTd: Tensor | None = None,
    weight_BT: Tensor | None = None,
    gather: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Loss]:
    """Return the terms ``distil``, ``contrast``, ``match`` that are on; what is optimised is their weighted sum.

    Args:
        student, teacher, negative: scores [B, T] over the vocabulary, position t predicting ``ids_BT[:, t]``; a sparse teacher serves
            the divergence alone.
        ids_BT: the student's own tokens.
        mask_BT: tokens up to and including the end token.
        on: the mechanisms.
        context_logp_KBT: log-probabilities of the tokens under K contexts at temperature 1, for agreement.
        student_hidden_BTd, teacher_hidden_BTd: last hidden states at the predicting positions, for matching.
        weight_BT: factors on all losses of tokens, such as ``preference.mismatch.engine_weights``; what divides them stays.
        gather: [n] -> [N] over ranks, for the quantiles of the batch; ``run.gather_constant``.

    Raises:
        CounterpointError: a mechanism is on and its input is missing.
    """
    mask = mask_BT.bool()
    terms: dict[str, Loss] = {}
    if not on.match_only:
        terms["distil"] = _distil(student, teacher, mask, on, context_logp_KBT, weight_BT, gather)
    if on.contrast_weight:
        if negative is None:
            raise CounterpointError(
                "contrast_weight is above 0 and no negative teacher was given; give negative=..., or contrast_weight=0"
            )
        if isinstance(teacher, Sparse):
            raise CounterpointError(
                "contrast needs the log-probabilities of the student's tokens, which a sparse teacher has not; contrast_weight=0"
            )
        ids = torch.where(mask, ids_BT, 0)
        logp, right, wrong = (
            log_probs(scores, ids, temperature=on.temperature, mask=mask)
            for scores in (student, teacher, negative)
        )
        hinge_BT = _scaled(token_contrast(logp, right, wrong, on.contrast_margin), weight_BT)
        hinge = aggregate(hinge_BT, mask, "sequence_mean")
        terms["contrast"] = Loss(hinge.values, weight=on.contrast_weight)
    if on.match_weight or on.match_only:
        if student_hidden_BTd is None or teacher_hidden_BTd is None:
            raise CounterpointError(
                "feature matching is on and needs student_hidden_BTd and teacher_hidden_BTd; or set match_weight=0"
            )
        distance_BT = _scaled(feature_distance(student_hidden_BTd, teacher_hidden_BTd), weight_BT)
        distance = aggregate(distance_BT, mask, "sequence_mean")
        terms["match"] = Loss(distance.values, weight=1.0 if on.match_only else on.match_weight)
    return terms


def _scaled(values_BT: Tensor, weight_BT: Tensor | None) -> Tensor:
    return values_BT if weight_BT is None else values_BT * weight_BT.to(values_BT)


def _distil(
    student: Scores,
    teacher: Scores | Sparse,
    mask: Tensor,
    on: Mechanisms,
    context_logp_KBT: Tensor | None,
    weight_BT: Tensor | None,
    gather: Callable[[Tensor], Tensor] | None,
) -> Loss:
    values_BT = divergence(student, teacher, on.kind, temperature=on.temperature, mask=mask)
    stats = {}
    if on.cap_quantile is not None:
        stats["cap"] = adaptive_cap(values_BT, mask, on.cap_quantile, gather=gather)
        values_BT = clip(values_BT, stats["cap"])
    elif on.cap is not None:
        values_BT = clip(values_BT, on.cap)
    weights_BT = None
    if on.agreement != "none":
        if context_logp_KBT is None:
            raise CounterpointError(
                "agreement weights compare contexts; give context_logp_KBT, or agreement='none'"
            )
        if on.agreement == "token":
            weights_BT, spread = token_agreement(
                context_logp_KBT,
                mask,
                gamma=on.gamma,
                stat=on.stat,
                quantile=on.quantile,
                cap=on.spread_cap,
                gather=gather,
            )
        else:
            weights_BT, spread = sequence_agreement(context_logp_KBT, mask, gamma=on.gamma, stat=on.stat)
        stats["agreement"] = sequence_mean(weights_BT, mask)
        stats["disagreement"] = spread if spread.dim() == 1 else sequence_mean(spread, mask)
    if on.entropy_share < 1.0:
        with torch.no_grad():
            selected_BT = high_entropy(
                entropy(student, temperature=on.temperature, mask=mask), mask, on.entropy_share, gather=gather
            )
        values_BT = torch.where(selected_BT, values_BT, 0.0)
        if weights_BT is not None:  # the denominator still counts every token
            weights_BT = torch.where(selected_BT | ~mask, weights_BT, 1.0)
    values_BT = _scaled(values_BT, weight_BT)
    pooled = on.normalise == "batch"
    loss = aggregate(values_BT, mask, "token_mean" if pooled else "sequence_mean", weights_BT=weights_BT)
    return Loss(loss.values, loss.counts, stats=stats)
