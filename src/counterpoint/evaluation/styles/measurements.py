"""What is measured of a restyler, in both directions: @styled is what stylising made, @plain what taking the style off made.

structure@, style@   of every split (``evaluation.styles.scores``); balance is the mean of all four
l1@                  mean absolute difference to the true partner, pictures in [-1, 1]; nearness = 1 - (l1@styled + l1@plain) / 4, of pairs
agreement@           how often a classifier trained on real pictures of the domain sees in a made one what it shows, of labelled pictures
cosine_within, cosine_between   of prompts through their adapters, within the domains and between them
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from counterpoint.data.styles.sets import Styles, StyleSet
from counterpoint.evaluation.measurement import Measurement, Subject, is_a
from counterpoint.evaluation.styles.scores import StyleJudge, structure
from counterpoint.generation.restyling import restyled
from counterpoint.models.styles.domains import DOMAINS, Domain
from counterpoint.models.styles.generator import Generator
from counterpoint.models.styles.prompt_encoder import cosines

Restyling = Subject[Generator, Styles]
HIDDEN, PASSES = 128, 200


def figures(subject: Restyling) -> dict[str, float]:
    """All figures that the split allows."""
    model, data = subject.model, subject.data
    part: StyleSet = data.splits()[subject.split]
    before: dict[Domain, Tensor] = {"styled": part.plain, "plain": part.styled}
    made = {domain: restyled(model, before[domain], domain) for domain in DOMAINS if len(before[domain])}
    result = {f"structure@{domain}": float(structure(before[domain], made[domain]).mean()) for domain in made}
    if len(data.train.plain) and len(data.train.styled):
        judge = StyleJudge(data.train.plain, data.train.styled)
        for domain in made:
            result[f"style@{domain}"] = float((judge(made[domain]) == (domain == "styled")).mean())
        real = [
            judge(each) == (domain == "styled")
            for domain, each in (("plain", part.plain), ("styled", part.styled))
            if len(each)
        ]
        result["style_judge_accuracy"] = float(np.concatenate(real).mean())
        if len(made) == len(DOMAINS):
            result["balance"] = float(
                np.mean([result[f"{name}@{d}"] for name in ("structure", "style") for d in DOMAINS])
            )
    return result | _against_partners(model, part) | _agreement(data, part, made) | _prompts(model)


def _against_partners(model: Generator, part: StyleSet) -> dict[str, float]:
    plain, styled = part.pairs()
    if not len(plain):
        return {}
    apart = {
        "styled": _l1(restyled(model, plain, "styled"), styled),
        "plain": _l1(restyled(model, styled, "plain"), plain),
    }
    return {
        "nearness": 1 - sum(apart.values()) / 4,
        **{f"l1@{domain}": value for domain, value in apart.items()},
        "l1_unchanged": _l1(plain, styled),
    }


def _l1(one: Tensor, two: Tensor) -> float:
    return float((one.double() - two.double()).abs().mean() / 127.5)


def _agreement(data: Styles, part: StyleSet, made: dict[Domain, Tensor]) -> dict[str, float]:
    """Of labelled pictures; the classifier of a domain learnt from the training's real pictures of it."""
    sides: dict[Domain, tuple[Tensor, Tensor, Tensor]] = {
        "styled": (data.train.styled, data.train.styled_labels, part.plain_labels),
        "plain": (data.train.plain, data.train.plain_labels, part.styled_labels),
    }
    result = {}
    for domain, pictures in made.items():
        seen, labels, wanted = sides[domain]
        learnt, counted = labels >= 0, wanted >= 0
        if not (learnt.any() and counted.any()):
            continue
        classifier = MLPClassifier((HIDDEN,), max_iter=PASSES, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            threads = torch.get_num_threads()
            classifier.fit(_flat(seen[learnt]), labels[learnt].numpy())
            torch.set_num_threads(threads)
        result[f"agreement@{domain}"] = float(
            (classifier.predict(_flat(pictures[counted])) == wanted[counted].numpy()).mean()
        )
    return result


def _flat(pixels: Tensor) -> np.ndarray:
    return (pixels.double() / 255).flatten(1).numpy()


@torch.no_grad()
def _prompts(model: Generator) -> dict[str, float]:
    within, between = cosines(*(model.embed(domain).cpu() for domain in DOMAINS))
    return {"cosine_between": between} | ({"cosine_within": within} if within == within else {})


MEASUREMENTS: tuple[Measurement[Any, Styles], ...] = (Measurement(applies=is_a(Generator), measure=figures),)
