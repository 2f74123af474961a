"""Every method names its parts, and each can be left out by settings that the method takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from counterpoint import api
from counterpoint.cli.tables import study_table
from counterpoint.errors import CounterpointError
from counterpoint.methods import groups
from counterpoint.methods.catalog import load, ready
from counterpoint.methods.supremix import SupReMix
from counterpoint.study.ablate import parts_of, plan_of
from counterpoint.study.compare import finished, resume
from counterpoint.study.plan import stored_plan
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


NO_NEGATIVES = "supremix: these data have no negatives but mixed ones; leave mix_negatives as it is"


@pytest.fixture
def picky(monkeypatch: pytest.MonkeyPatch) -> None:
    """SupReMix that refuses one part's setting at once, and another's when it sees the data."""
    fit = SupReMix.fit

    def refusing(self: SupReMix, *given: Any) -> Any:
        if not self.mix_negatives:
            raise CounterpointError(NO_NEGATIVES)
        return fit(self, *given)

    monkeypatch.setattr(SupReMix, "fit", refusing)
    parts = {name: {name: False} for name in ("mix_positives", "mix_negatives")}
    monkeypatch.setattr(SupReMix, "ablations", {"narrow bins": {"bin_width": -1.0}, **parts})


SMALL: dict[str, Any] = {"data": "diabetes", "model": "mlp", "steps": 2, "seeds": 2}


def test_a_part_that_is_refused_is_a_row_and_the_rest_goes_on(tmp_path: Path, picky: None) -> None:
    out = tmp_path / "study"
    summary = api.ablate("supremix", out=out, **SMALL)
    assert list(summary["arms"]) == ["as-given", "mix_positives"]
    assert [len(arm["runs"]) for arm in summary["arms"].values()] == [2, 2]
    assert summary["not_run"].keys() == {"narrow_bins", "mix_negatives"}
    assert "bin_width" in summary["not_run"]["narrow_bins"]
    assert summary["not_run"]["mix_negatives"] == NO_NEGATIVES
    assert finished(out, stored_plan(out)) == summary == resume(out)
    with (screen := Console(width=200)).capture() as caught:
        study_table(screen, summary, out)
    assert f"· mix_negatives was not run: {NO_NEGATIVES}" in caught.get()
    assert "– not run</span><span>narrow_bins: " in api.report(out).read_text()


def test_an_ablation_of_a_method_that_is_refused_as_given_ends(tmp_path: Path, picky: None) -> None:
    with pytest.raises(CounterpointError, match=NO_NEGATIVES):
        api.ablate("supremix", settings={"mix_negatives": False}, out=tmp_path / "study", **SMALL)
    assert not (tmp_path / "study" / "summary.json").exists()


def test_a_value_that_was_asked_for_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="bin_width"):
        api.ablate("supremix", vary={"bin_width": [-1.0, 2.0]}, out=tmp_path / "study", **SMALL)
    assert not (tmp_path / "study").exists()
