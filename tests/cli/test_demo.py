"""The demo's comparisons: each arm is what its method takes, and the settings of two of them are their evidence's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from counterpoint import api
from counterpoint.cli.demo import SCENES, Scene
from counterpoint.methods.catalog import row

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"


def scene(name: str) -> Scene:
    return next(each for each in SCENES if each.name == name)


def evidence(key: str) -> Any:
    return json.loads((EVIDENCE / f"{key}.json").read_text(encoding="utf-8"))


def test_three_kinds_of_data_a_language_one_among_them() -> None:
    kinds = [row(method).kind for scene in SCENES for method in scene.arms.values()]
    assert list(dict.fromkeys(kinds)) == ["images", "interactions", "problems"]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_every_arm_is_what_its_method_takes(scene: Scene) -> None:
    given = {
        name: value
        for name, value in scene.arguments.items()
        if name in ("data", "model", "data_options", "steps", "examples")
    }
    built = api.entries(scene.arms, scene.settings, **given)
    assert [entry.name for entry in built] == list(scene.arms)
    assert scene.arguments["baseline"] in scene.arms


@pytest.mark.parametrize(
    ("name", "key", "arms", "budget"),
    [
        (
            "images",
            "multiview",
            {"two views": "infonce-2", "four at once": "infonce-4"},
            {"examples": 10500},
        ),
        ("letters", "pi-distill", {"grpo": "rl", "pi-distill": "alpha-0"}, {"steps": 40}),
    ],
)  # fmt: skip
def test_what_is_compared_was_measured_before(
    name: str, key: str, arms: dict[str, str], budget: dict[str, int]
) -> None:
    """Data, budget, and all that an arm sets are those of the method's evidence."""
    shown, measured = scene(name), evidence(key)
    assert set(shown.arms) == set(arms)
    assert shown.arguments["data"] == measured["data"]["spec"]
    assert shown.arguments.get("data_options", {}) == measured["data"]["options"]
    assert {unit: shown.arguments[unit] for unit in budget} == budget == measured["budget"]
    for arm, of in arms.items():
        assert shown.arms[arm] == measured["arms"][of]["key"]
        settings = measured["arms"][of]["settings"]
        assert {key: settings[key] for key in shown.settings[arm]} == shown.settings[arm]


def test_the_language_methods_are_shown_to_differ_in_their_evidence() -> None:
    verdicts = {tuple(claim["contrast"]): claim["verdict"] for claim in evidence("pi-distill")["claims"]}
    assert verdicts["alpha-0", "rl"] == "shown"
