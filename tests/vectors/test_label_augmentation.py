"""Vectors of self-supervised label augmentation: losses, aggregation, self-distillation, the transformations."""

from __future__ import annotations

from functools import partial

import torch
from harness import Case, Checks, vector_tests

from counterpoint.objectives.labels import label_augmentation as sla
from counterpoint.pairs.transformations import SETS

TOLERANCE = {"rtol": 1e-10, "atol": 1e-13}


def _joint(case: Case) -> tuple[torch.Tensor, torch.Tensor, int, float]:
    m = int(case.number("n_transforms"))
    joint = case.tensor("joint_logits", grad=True)
    assert joint.shape[1] == m * int(case.number("n_classes"))
    return joint, case.tensor("labels").long(), m, m if case.number("with_large_loss") else 1.0


def _sla(case: Case) -> None:
    joint, labels, m, factor = _joint(case)
    loss = factor * sla.joint_loss(joint, labels, m).mean()
    loss.backward()
    case.expect("sla/loss", loss, **TOLERANCE)
    case.expect("sla/grad_joint", joint.grad, **TOLERANCE)
    case.expect("sla/agg_logits", sla.aggregated_logits(joint, m), **TOLERANCE)
    case.expect("sla/single_logits", sla.single_logits(joint, m), **TOLERANCE)
    case.expect("sla/joint_labels", sla.joint_labels(labels, m), rtol=0)


def _sd(case: Case) -> None:
    joint, labels, m, factor = _joint(case)
    every = case.tensor("single_logits_all", grad=True)
    temperature = case.number("temperature")
    kl, ce = sla.ensemble_distillation(every[::m], joint, labels, m, temperature)
    loss = factor * sla.joint_loss(joint, labels, m).mean() + ce.mean() + kl.mean()
    loss.backward()
    case.expect("sd/loss", loss, **TOLERANCE)
    case.expect("sd/ce", ce.mean(), **TOLERANCE)
    case.expect("sd/kl", kl.mean() / temperature**2, **TOLERANCE)
    case.expect("sd/grad_joint", joint.grad, **TOLERANCE)
    case.expect("sd/grad_single", every.grad, **TOLERANCE)


def _baseline(case: Case) -> None:
    _, labels, m, _ = _joint(case)
    classes = case.tensor("baseline/class_logits", grad=True)
    transforms = case.tensor("baseline/transform_logits", grad=True)
    augmented = sla.augmented_loss(classes, labels, m).mean()
    multi = augmented + sla.transformation_loss(transforms, m).mean()
    multi.backward()
    case.expect("baseline/da_loss", augmented, **TOLERANCE)
    case.expect("baseline/mt_loss", multi, **TOLERANCE)
    case.expect("baseline/mt_grad_class", classes.grad, **TOLERANCE)
    case.expect("baseline/mt_grad_transform", transforms.grad, **TOLERANCE)


def losses(case: Case) -> Checks:
    known = {"sla": _sla, "sd": _sd, "baseline": _baseline}
    return {name: partial(known[name], case) for name in case.losses()}


def transforms(case: Case) -> Checks:
    def exact(name: str) -> None:
        chosen = SETS[name]
        assert len(chosen) == int(case.number(f"{name}/m"))
        case.expect(f"{name}/out", chosen(case.tensor("x")), rtol=0)

    return {name: partial(exact, name) for name in case.losses()}


test_label_augmentation = vector_tests({"sla": losses, "sla_transforms": transforms})
