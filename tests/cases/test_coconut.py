"""The case of coconut is fair: every arm tries as many configurations, all of its grid; voices balanced, prompts apart."""

from __future__ import annotations

import itertools
import math

import pytest

from counterpoint import api
from counterpoint.pairs.exemplars import class_order
from counterpoint.study.plan import TUNING_SEED
from counterpoint.tasks.audio import TASK

REPLAYING = {
    "replay",
    "replay + audio distillation",
    "replay + ntpt",
    "replay + nspt",
    "coconut",
    "coconut + distillation",
}


def test_every_arm_is_tuned_as_much_and_its_grid_is_tried_whole():
    case, plan = api.reproduction("coconut")
    sizes = {entry.name: math.prod(len(choices) for choices in entry.tune.values()) for entry in plan.entries}
    assert set(sizes.values()) == {case.trials}
    assert case.tune_by in case.metrics
    assert not set(range(case.seeds)) & set(range(TUNING_SEED, TUNING_SEED + case.tuning_seeds))


def test_arms_differ_in_what_their_names_say_and_in_nothing_else():
    _, plan = api.reproduction("coconut")
    settings = {entry.name: entry.recipe.settings for entry in plan.entries}
    assert set(settings) == REPLAYING | {"fine-tuning", "joint"}
    for one, other in itertools.combinations(settings, 2):
        differ = {name for name, value in settings[one].items() if value != settings[other][name]}
        allowed = {"contrast.kind", "contrast.weight", "multimodal.weight", "distillation.kinds"}
        assert differ <= allowed | (set() if {one, other} <= REPLAYING else {"memory.size", "tasks"})
        assert differ
    assert settings["replay + ntpt"] | {"contrast.kind": "nspt"} == settings["replay + nspt"]
    assert settings["replay"] | {"memory.size": 0} == settings["fine-tuning"]
    assert settings["joint"]["tasks"] == 1
    assert {entry.recipe.settings["weight_decay"] for entry in plan.entries} == {0.1}


def test_every_seed_has_an_order_of_its_own():
    case, _ = api.reproduction("coconut")
    orders = {tuple(itertools.chain(*class_order(8, 4, seed))) for seed in range(case.seeds)}
    assert len(orders) == case.seeds


@pytest.mark.slow
def test_voices_are_balanced_and_their_prompts_are_apart():
    case, _ = api.reproduction("coconut")
    data = TASK.load_data(case.data, **case.data_options)
    assert len(data.classes) == 8
    assert data.train.labels.bincount().tolist() == [150] * 8
    for part in (data.validation, data.test):
        assert int(part.labels.bincount().max()) <= 2.5 * int(part.labels.bincount().min())
    sides = [set(part.groups) for part in data.splits().values()]
    assert not any(one & other for one, other in itertools.combinations(sides, 2))
    assert sum(map(bool, data.train.texts)) > 0.9 * len(data.train)
