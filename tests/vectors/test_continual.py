"""Vectors of COCONUT: the replayed contrast in all its forms, audio against text, and distillation over old classes."""

from __future__ import annotations

import re
from functools import partial

from harness import Case, Checks, vector_tests

from counterpoint.objectives.distillation.continual import (
    audio_text_contrast,
    distillation_share,
    old_class_distillation,
    replayed_contrast,
)

TOLERANCE = {"rtol": 1e-9, "atol": 1e-12}


def check_contrast(case: Case, name: str) -> None:
    form, self_positive, self_negative = re.fullmatch(r"(\w+?)_selfpos([01])_selfneg([01])", name).groups()
    student, teacher = case.tensor("z_student", grad=True), case.tensor("z_teacher", grad=True)
    loss = replayed_contrast(
        student,
        case.tensor("labels"),
        case.tensor("is_rehearsal"),
        None if form == "nsps" else teacher,
        temperature=case.number("temperature"),
        negatives="teacher" if form == "ntpt" else "student",
        self_positive=self_positive == "1",
        self_negative=self_negative == "1",
    ).mean()
    loss.backward()
    case.expect(f"{name}/loss", loss, **TOLERANCE)
    case.expect(f"{name}/grad_z_student", student.grad, **TOLERANCE)
    assert teacher.grad is None


def check_multimodal(case: Case, name: str) -> None:
    audio, text = case.tensor("audio", grad=True), case.tensor("text", grad=True)
    loss = audio_text_contrast(
        audio,
        text,
        case.tensor("labels"),
        ~case.tensor("is_rehearsal") if name == "mm_new" else None,
        temperature=case.number("temperature"),
    ).mean()
    loss.backward()
    case.expect(f"{name}/loss", loss, **TOLERANCE)
    case.expect(f"{name}/grad_audio", audio.grad, **TOLERANCE)
    case.expect(f"{name}/grad_text", text.grad, **TOLERANCE)


def check_distillation(case: Case, name: str) -> None:
    student = case.tensor("student_logits", grad=True)
    teacher = case.tensor("teacher_logits", grad=True)
    share = case.number("rehearsal_alpha")
    if name.startswith("all"):
        share = distillation_share(student.shape[1], teacher.shape[1])
    own = 1.0 if name.endswith("both") else 1.0 - share
    loss = (
        own * case.number("current_loss")
        + share * old_class_distillation(student, teacher, case.number("tau")).mean()
    )
    loss.backward()
    case.expect(f"{name}/loss", loss, **TOLERANCE)
    case.expect(f"{name}/grad_student_logits", student.grad, **TOLERANCE)
    assert teacher.grad is None


def coconut(case: Case) -> Checks:
    if "student_logits" in case:
        return {name: partial(check_distillation, case, name) for name in case.losses()}
    return {
        name: partial(check_multimodal if name.startswith("mm") else check_contrast, case, name)
        for name in case.losses()
    }


test_continual = vector_tests({"coconut": coconut})
