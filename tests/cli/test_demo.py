"""The demo's comparisons: each arm is what its method takes, and the settings of the language one are its evidence's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint import api
from counterpoint.cli.demo import SCENES, Scene
from counterpoint.methods.catalog import row

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"


def test_three_kinds_of_data_a_language_one_among_them() -> None:
    kinds = {row(method).kind for scene in SCENES for method in scene.arms.values()}
    assert kinds == {"images", "interactions", "problems"}


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


def test_the_language_comparison_is_what_evidence_shows() -> None:
    """The settings are those whose effect was put to the test; an arm of the demo bears its evidence's settings, all of them."""
    scene = next(scene for scene in SCENES if scene.name == "letters")
    evidence = json.loads((EVIDENCE / "pi-distill.json").read_text(encoding="utf-8"))
    for name, of in {"grpo": "rl", "pi-distill": "alpha-0", "opsd": "opsd"}.items():
        measured = evidence["arms"][of]["settings"]
        assert {key: measured[key] for key in scene.settings[name]} == scene.settings[name]
    shown = {tuple(claim["contrast"]) for claim in evidence["claims"] if claim["verdict"] == "shown"}
    assert {("opsd", "rl"), ("alpha-0", "rl")} <= shown
