"""The case of two modalities: its arms are tuned alike, and what it measures of temperatures is what it says."""

import pytest
import torch

from counterpoint import api
from counterpoint.cases import clip
from counterpoint.data.images.load import Images, ImageSet
from counterpoint.models.images.encoders import SmallConv
from counterpoint.models.images.paired import paired
from counterpoint.training.report import Report


def test_every_arm_has_the_same_budget_and_the_same_ranges():
    case, plan = api.reproduction("clip")
    assert plan.seeds >= 5
    assert plan.tune_by in case.metrics
    entries = {entry.name: entry for entry in plan.entries}
    assert set(entries) == {"clip", "sogclr", "isogclr"}
    assert len({str(entry.tune) for entry in plan.entries}) == 1
    assert set(entries["clip"].tune) == {"temperature", "learning_rate"}
    assert len({str(entry.recipe.budget) for entry in plan.entries}) == 1
    given = [dict(case.arm(name).settings) for name in entries]
    for name in clip.SHARED:
        assert len({str(settings[name]) for settings in given}) == 1, name
    grid = 1
    for choices in entries["clip"].tune.values():
        grid *= len(choices)
    assert plan.trials >= grid
    # A setting that an arm fixes would not be tuned.
    assert not any(set(settings) & set(clip.TUNED) for settings in given)


def test_the_gap_is_common_less_rare_with_and_without_flags():
    """Kinds of 40 (flags), 35, 20 and 5 images."""
    sizes, names = [40, 35, 20, 5], ("country-flag", "faces", "middling", "rare")
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    part = ImageSet(torch.zeros(100, 3, 8, 8), labels)
    data = Images(part, part, part, classes=names)
    towers = paired(SmallConv(3, mean=[0.5] * 3, std=[0.5] * 3), 4, dim=4)
    report = Report()
    assert set(clip.measure(towers, data, "test", 0, report).values()) == {0.0}
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    warm = {0: 0.9, 1: 0.3, 2: 7.0, 3: 0.1}
    tau = [warm[int(label)] for label in labels[order]]
    report.add(
        temperatures={
            "row": order.tolist(),
            "label": labels[order].tolist(),
            "temperature": tau,
            "partner_temperature": [2 * value for value in tau],
        }
    )
    found = clip.measure(towers, data, "test", 0, report)
    with_flags = (40 * 0.9 + 35 * 0.3) / 75 - 0.1
    assert found["image_common_less_rare"] == pytest.approx(with_flags)
    assert found["caption_common_less_rare"] == pytest.approx(2 * with_flags)
    assert found["image_common_less_rare_no_flags"] == pytest.approx(0.2)
    assert found["caption_common_less_rare_no_flags"] == pytest.approx(0.4)
