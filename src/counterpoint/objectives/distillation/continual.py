"""Terms that keep old classes in place while new ones are learnt (arXiv 2310.02699, COCONUT).

NSPT, for anchors k that are replayed: the frozen previous model says where the class was, the model at hand what is near,

    l_k = -1/|P(k)| sum_{p in P(k)} log ( e^{z_k.t_p/tau} / sum_{i in I} e^{z_k.z_i/tau} ),   P(k) = rows of k's class,

with z the student's and t the teacher's unit projections. Teacher vectors of classes it never saw mean nothing, so they
stand nowhere. MM ties audio to text, every transcript of the same intent being a positive:

    l_k = -1/(2|P(k)|) sum_{p in P(k)} ( log softmax_i(a_k.t_i/tau)_p + log softmax_i(t_k.a_i/tau)_p ),   i in K.

Shapes: n local rows, N rows of all ranks, D dimensions, C classes of the student, O classes of the teacher.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.kernels.divergence_rows import FORWARD
from counterpoint.kernels.scores import Scores
from counterpoint.kernels.similarity import (
    different,
    key_mean_similarity,
    similarity_logsumexp,
    similarity_logsumexp_both,
)
from counterpoint.kernels.vocabulary import divergence, entropy
from counterpoint.objectives.in_batch import own_rows, scale_of, unit
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import masked

Negatives = Literal["student", "teacher"]


def replayed_contrast(
    student: Tensor,
    labels: Tensor,
    replayed: Tensor,
    teacher: Tensor | None = None,
    *,
    temperature: float = 0.1,
    negatives: Negatives = "student",
    self_positive: bool = True,
    self_negative: bool = True,
    candidates: tuple[Tensor, Tensor | None, Tensor] | None = None,
    offset: int = 0,
    normalize: bool = True,
) -> Loss:
    """NSPT, its variant NTPT (the denominator's vectors are the teacher's too) and, without a teacher, plain SupCon.

    Args:
        student: [n, D], the model's projections of current and replayed rows.
        labels: [n], their classes.
        replayed: [n] bool, the anchors. New classes must not be anchors: the teacher has never seen them.
        teacher: [n, D], the frozen previous model's projections of the same rows, a constant; None takes the student's own
            as positives, with gradient.
        temperature: tau.
        negatives: whose vectors stand in the denominator.
        self_positive: the anchor's own teacher vector is a positive (needs a teacher).
        self_negative: the anchor's own vector stands in the denominator, as the printed sum over I says. Without it
            the loss may fall below 0.
        candidates: (student, teacher, labels) of all ranks' rows; default the local ones.
        offset: where the local rows lie among the candidates.
        normalize: rows to length 1 first.

    Returns:
        Loss with values [n], 0 for rows that are no anchors or have no positive; counts [n], 1 where an anchor has a
        positive; statistic ``anchors`` [n].

    Raises:
        CounterpointError: shapes that do not fit; a mode that needs a teacher and has none.

    >>> z, labels = torch.eye(3), torch.tensor([0, 1, 2])
    >>> old = torch.tensor([True, False, False])
    >>> [round(x, 4) for x in replayed_contrast(z, labels, old, z, temperature=1.0).values.tolist()]  # log(e + 2) - 1
    [0.5514, 0.0, 0.0]
    """
    if negatives not in ("student", "teacher"):
        raise CounterpointError(f"negatives='{negatives}'; {nearest(str(negatives), ['student', 'teacher'])}")
    if teacher is None and (negatives == "teacher" or self_positive):
        raise CounterpointError(
            "no teacher was given, so its vectors cannot be negatives nor an anchor its own positive; the call that works "
            "without one: replayed_contrast(z, labels, replayed, self_positive=False)"
        )
    scale = scale_of(temperature)
    all_student, all_teacher, all_labels = (student, teacher, labels) if candidates is None else candidates
    _check_rows(student, labels, replayed)
    _check_rows(all_student, all_labels, all_labels)
    if (teacher is None) != (all_teacher is None):
        raise CounterpointError("teacher and the candidates' teacher go together and only one was given")
    if all_teacher is not None and all_teacher.shape != all_student.shape:
        raise CounterpointError(
            f"student {tuple(all_student.shape)} and teacher {tuple(all_teacher.shape)}; expected projections of the same rows "
            "and width: the teacher is a copy of the model with its projection"
        )
    if normalize:
        student, all_student = unit(student), unit(all_student)
        all_teacher = None if all_teacher is None else unit(all_teacher)
    chosen = replayed.nonzero().squeeze(1)
    own = own_rows(len(student), len(all_student), offset, student.device)[chosen]
    anchors, classes = student[chosen], labels[chosen]
    positives = all_student if all_teacher is None else all_teacher.detach()
    pulled, count = key_mean_similarity(anchors, classes, positives, all_labels)
    if not self_positive:
        others = count - 1
        rest = pulled * count - (anchors * positives[own]).sum(1)
        pulled, count = torch.where(others > 0, rest / others.clamp(min=1), 0.0), others
    columns = positives if negatives == "teacher" else all_student
    places = torch.arange(len(columns), device=columns.device)
    rules = [] if self_negative else [different(own, places)]
    taught = count > 0
    against = similarity_logsumexp(anchors, columns, scale=scale, include=rules, mask=taught)
    losses = torch.where(taught & (against != -math.inf), against - pulled * scale, 0.0)
    empty = losses.new_zeros(len(student))
    return Loss(
        empty.index_copy(0, chosen, losses),
        counts=empty.index_copy(0, chosen, taught.to(losses.dtype)),
        stats={"anchors": replayed.to(losses.dtype)},
    )


def audio_text_contrast(
    audio: Tensor,
    text: Tensor,
    labels: Tensor,
    chosen: Tensor | None = None,
    *,
    temperature: float = 0.1,
    candidates: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
    normalize: bool = True,
) -> Loss:
    """MM: audio against texts and texts against audio, all rows of one class positive to each other.

    With one row per class it is ``symmetric_info_nce``.

    Args:
        audio, text: [n, D].
        labels: [n], the intents.
        chosen: [n] bool, the rows K that take part at all (the new data); None takes all.
        temperature: tau.
        candidates: (audio, text, labels, chosen) of all ranks' rows; default the local ones.
        normalize: rows to length 1 first.

    Returns:
        Loss with values [n], 0 outside K; counts [n], 1 in K.

    >>> z = torch.eye(2)
    >>> [round(x, 4) for x in audio_text_contrast(z, z, torch.tensor([0, 1]), temperature=1.0).values.tolist()]
    [0.3133, 0.3133]
    """
    if audio.shape != text.shape:
        raise CounterpointError(
            f"audio {tuple(audio.shape)} and text {tuple(text.shape)}; expected [n, D] both, row i of text the transcript of "
            "row i of audio"
        )
    used = torch.ones_like(labels, dtype=torch.bool) if chosen is None else chosen
    _check_rows(audio, labels, used)
    scale = scale_of(temperature)
    if normalize:
        audio, text = unit(audio), unit(text)
    index = used.nonzero().squeeze(1)
    a, t, own = audio[index], text[index], labels[index]
    if candidates is None:
        all_a, all_t, classes = a, t, own
        audio_lse, text_lse = (
            similarity_logsumexp_both(a, t, scale=scale) if len(index) else (a.sum(1), t.sum(1))
        )
    else:
        usable = candidates[3].nonzero().squeeze(1)
        all_a, all_t, classes = (rows[usable] for rows in candidates[:3])
        if normalize:
            all_a, all_t = unit(all_a), unit(all_t)
        audio_lse = similarity_logsumexp(a, all_t, scale=scale)
        text_lse = similarity_logsumexp(t, all_a, scale=scale)
    near_text, _ = key_mean_similarity(a, own, all_t, classes)
    near_audio, _ = key_mean_similarity(t, own, all_a, classes)
    losses = (audio_lse + text_lse) / 2 - (near_text + near_audio) / 2 * scale
    empty = losses.new_zeros(len(audio))
    return Loss(empty.index_copy(0, index, losses), counts=used.to(losses.dtype))


def old_class_distillation(student_BC: Tensor, teacher_BO: Tensor, temperature: float = 1.0) -> Tensor:
    """Knowledge distillation over the classes the teacher knows, which are the student's first O.

    ``tau^2 mean_c q_c (log q_c - log p_c)``, p and q softmax over those O classes at tau; the student's logits are cut
    before their softmax. The mean runs over classes too (arXiv 2211.08161's code), so it shrinks as classes grow.

    Args:
        student_BC: [B, C] logits, C >= O.
        teacher_BO: [B, O] logits, a constant.
        temperature: tau.

    Returns:
        [B].

    >>> old_class_distillation(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[1.0, 3.0]])).tolist()
    [0.0]
    """
    old = teacher_BO.shape[-1]
    if student_BC.dim() != 2 or len(student_BC) != len(teacher_BO) or student_BC.shape[1] < old or old < 1:
        raise CounterpointError(
            f"student logits {tuple(student_BC.shape)} and teacher logits {tuple(teacher_BO.shape)}; expected [B, C] and [B, O] "
            "with the teacher's O classes first among the student's C"
        )
    scale_of(temperature)
    kl_B = divergence(student_BC[:, :old], teacher_BO, FORWARD, temperature=temperature)
    return temperature**2 * kl_B / old


def distillation_share(classes: int, before: int) -> float:
    """Weight alpha of ``old_class_distillation`` over all rows: ``ln(before / classes + 1)``, 0 when no class came before.

    >>> round(distillation_share(classes=7, before=4), 4)
    0.452
    """
    return math.log(before / classes + 1)


def replayed_share(num_replayed: int, batch: int) -> float:
    """Weight alpha of ``old_class_distillation`` over replayed rows only: ``sqrt(replayed / batch)``.

    >>> replayed_share(8, 32)
    0.5
    """
    return math.sqrt(num_replayed / max(batch, 1))


def token_distillation(student: Scores, teacher: Scores, mask_BT: Tensor) -> Loss:
    """Cross-entropy of the student's tokens under the teacher's distribution, ``-sum_v p_t(v) log p_s(v)``, token mean.

    Args:
        student, teacher: scores [B, T] over the vocabulary at the same, teacher-forced positions.
        mask_BT: [B, T], positions that count.

    Returns:
        Loss with values [B] summed over tokens, counts [B] of tokens. Its least value is the teacher's entropy.

    >>> flat = torch.zeros(1, 2, 4)
    >>> float(token_distillation(flat, flat, torch.ones(1, 2)).mean().exp())
    4.0
    """
    mask = mask_BT.bool()
    cross_BT = divergence(student, teacher, FORWARD, mask=mask)
    with torch.no_grad():
        spread_BT = entropy(teacher, mask=mask)
    counts = mask.sum(1).to(cross_BT.dtype)
    return Loss(masked(cross_BT + spread_BT, mask).sum(1), counts=counts)


def _check_rows(rows: Tensor, labels: Tensor, mask: Tensor) -> None:
    if rows.dim() != 2 or labels.shape != rows.shape[:1] or mask.shape != labels.shape:
        raise CounterpointError(
            f"rows {tuple(rows.shape)}, labels {tuple(labels.shape)}, mask {tuple(mask.shape)}; expected [n, D], [n] and [n]"
        )
