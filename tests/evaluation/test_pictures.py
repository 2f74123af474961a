"""Measurements of drawn pictures: distances against their formulas, agreement by hand, the judge by its own hidden layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from counterpoint.data.pictures.load import load_pictures
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.features import features
from counterpoint.evaluation.pictures.frechet import frechet_distance, precision_recall
from counterpoint.evaluation.pictures.judge import Judge, Look
from counterpoint.evaluation.pictures.measurements import agreement, rows_drawn
from counterpoint.generation.flow_sampler import Sampling
from counterpoint.generation.pictures import as_clean, as_pixels, pictures
from counterpoint.models import passes
from counterpoint.models.images.encoders import SmallConv
from counterpoint.models.pictures.loading import load_denoiser


def test_the_distance_is_that_of_two_normal_distributions() -> None:
    g = np.random.default_rng(0)
    a, b = g.normal(size=(200, 5)) @ g.normal(size=(5, 5)), 1.5 + g.normal(size=(150, 5))
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2)))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-8)


def test_the_distance_of_few_pictures_with_many_features_is_finite() -> None:
    g = np.random.default_rng(1)
    a, b = g.normal(size=(5, 40)), g.normal(size=(7, 40))
    assert np.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, a + 2.0) == pytest.approx(160.0)
    with pytest.raises(CounterpointError, match="at least 2"):
        frechet_distance(a[:1], b)


def test_precision_and_recall_by_a_loop() -> None:
    g = np.random.default_rng(2)
    real, drawn = g.normal(size=(30, 3)), 0.4 * g.normal(size=(20, 3)) + 0.3

    def share(inside: np.ndarray, points: np.ndarray) -> float:
        hits = 0
        for x in points:
            radii = [sorted(np.linalg.norm(inside - c, axis=1))[3] for c in inside]
            hits += any(np.linalg.norm(x - c) <= radius for c, radius in zip(inside, radii))
        return hits / len(points)

    assert precision_recall(real, drawn) == pytest.approx((share(real, drawn), share(drawn, real)))
    assert precision_recall(real, real) == (1.0, 1.0)
    assert precision_recall(real, real + 100.0) == (0.0, 0.0)


def test_the_judge_knows_digits_and_shows_its_hidden_layer() -> None:
    data = load_pictures("digits", limit=400)
    judge = Judge(data.images, "mlp")
    pixels = data.test.images.pixels
    seen = judge(pixels)
    assert (seen.classes == data.test.images.labels.numpy()).mean() > 0.9
    net = judge.classifier
    logits = seen.features @ net.coefs_[1] + net.intercepts_[1]
    assert (logits.argmax(1) == seen.classes).all()
    plain = Judge(data.images, "pixels")(pixels)
    assert plain.classes is None
    assert np.allclose(plain.features, pixels.flatten(1).numpy() / 255)
    with pytest.raises(CounterpointError, match="judge=nowhere"):
        Judge(data.images, "nowhere")


def test_a_folder_of_ones_own_judges(tmp_path: Path) -> None:
    data = load_pictures("digits", limit=200, evaluation_limit=60, judge=str(tmp_path))
    encoder = SmallConv(channels=1, stem_stride=1)
    encoder.save_pretrained(tmp_path)
    judge = Judge(data.images, data.judge)
    seen = judge(data.test.images.pixels)
    assert np.allclose(seen.features, features(encoder, data.test.images.pixels).numpy(), atol=1e-6)
    assert seen.classes is not None
    assert (seen.classes == data.test.images.labels.numpy()).mean() > 0.5


def test_pictures_of_many_pixels_are_averaged_for_the_judge() -> None:
    data = load_pictures("digits", size=24, limit=100, evaluation_limit=20, judge="pixels")
    pixels = data.test.images.pixels
    seen = Judge(data.images, "pixels")(pixels).features
    blocks = pixels.double().unflatten(2, (8, 3)).unflatten(4, (8, 3)).mean((3, 5)) / 255
    assert np.allclose(seen, blocks.flatten(1).numpy(), atol=1e-6)


def test_agreement_goes_by_what_the_prompt_stands_for() -> None:
    data = load_pictures("digits", prompts="low=0,1; high=8,9", limit=100)
    part = data.test
    rows = torch.nonzero(part.images.labels <= 1)[:4, 0]
    labels = part.images.labels[rows].numpy()
    other = 1 - labels
    look = Look(np.zeros((4, 1)), np.array([other[0], other[1], 9, 5]))
    assert agreement(data, part, rows, look) == 0.5
    by_class = load_pictures("digits", limit=100)
    assert (
        agreement(by_class, by_class.test, rows, replace(look, classes=np.append(labels[:1], other[1:])))
        == 0.25
    )
    middle = torch.nonzero(part.images.labels == 5)[:4, 0]
    assert agreement(data, part, middle, look) is None
    assert agreement(data, part, rows, Look(look.features, None)) is None


def test_every_prompt_of_a_split_is_drawn_equally_often() -> None:
    rows = rows_drawn(7, 30, 1)
    counts = torch.bincount(rows, minlength=7)
    assert len(rows) == 30
    assert int(counts.max() - counts.min()) <= 1


def test_pictures_do_not_hang_on_how_many_go_at_once() -> None:
    net = load_denoiser("dit-small:4", (1, 8, 8), names=("a", "b"), seed=0)
    g = torch.Generator().manual_seed(0)
    for value in net.parameters():
        value.data += 0.05 * torch.randn(value.shape, generator=g)
    how = Sampling(guidance=2.0, eta=1.0)
    whole = pictures(net, ["a", "b"] * 150, steps=2, seed=1, sampling=how)
    with passes.limits(rows=7):
        parts = pictures(net, ["a", "b"] * 150, steps=2, seed=1, sampling=how)
    assert int((whole.int() - parts.int()).abs().max()) <= 1
    assert not torch.equal(whole[:44], whole[256:])
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_pixels(as_clean(pixels)), pixels)
