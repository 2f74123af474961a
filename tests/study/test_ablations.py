"""Every method names its parts, and each can be left out by settings that the method takes."""

from __future__ import annotations

import re

import pytest

from counterpoint.methods import groups
from counterpoint.methods.catalog import load, ready
from counterpoint.study.ablate import parts_of, plan_of
from counterpoint.study.recipe import recipe_of

PUBLISHED = [key for key, row in ready().items() if not row.baseline]


@pytest.mark.parametrize("key", PUBLISHED)
def test_parts_have_names_and_change_what_they_say(key: str) -> None:
    cls = load(key)
    given = cls()
    parts = parts_of(given)
    assert parts
    assert parts.keys() == cls.ablations.keys(), "a part that is left out by default is no ablation"
    for name, changed in parts.items():
        before, after = groups.flat(given), groups.flat(changed)
        assert {setting for setting in before if before[setting] != after[setting]} == set(
            cls.ablations[name]
        )
        assert re.fullmatch(r"[a-z][a-z0-9', -]+", name)
    assert len({tuple(map(str, groups.flat(changed).items())) for changed in parts.values()}) == len(parts)


def test_an_ablation_leaves_out_one_part_at_a_time() -> None:
    method = load("supremix").settings(weighted=False)
    recipe = recipe_of(method, "regression", data="diabetes", model="mlp", budget={"steps": 2}, seed=0)
    plan = plan_of(recipe, method, None, seeds=2)
    assert [entry.title for entry in plan.entries] == [
        "as given",
        "without mixed negatives",
        "without mixed positives",
        "gradient through the mixed",
    ]
    for entry in plan.entries[1:]:
        assert entry.recipe.settings["weighted"] is False
    assert plan.entries[1].recipe.settings["mix_negatives"] is False
    assert plan.entries[1].recipe.settings["mix_positives"] is True
    every = plan_of(recipe, method, None, seeds=2, every=True)
    assert any(entry.name.startswith("optimizer=") for entry in every.entries)
