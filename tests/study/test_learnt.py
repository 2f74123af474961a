"""Records foretell methods: who has the word is measured on data left out, the store can be switched off, damage is passed over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from counterpoint.study.settings_search import learnt
from counterpoint.study.settings_search.learnt import Learnt, keep, learn, outcome, stored
from counterpoint.study.settings_search.record import Record


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(learnt, "store", lambda: tmp_path / "records")
    monkeypatch.setenv("COUNTERPOINT_RECORDS", "on")
    return tmp_path / "records"


def summary(
    data: str = "mine", primary: str = "accuracy", **arms: tuple[str, str, float | None]
) -> dict[str, Any]:
    given = arms or {
        "a": ("dcl", "one", 0.8),
        "b": ("dcl", "one", 0.9),
        "c": ("simclr", "one", 0.6),
        "d": ("sla", "two", 1.0),
    }
    return {
        "kind": "images", "primary": primary, "lower_is_better": ["error"], "data": {"spec": data}, "model": "small",
        "arms": {
            name: {"key": key, "data_fingerprint": on, "metrics": {primary: {"mean": mean}}} for name, (key, on, mean) in given.items()
        },
    }  # fmt: skip


def record(data: str, **reached: float) -> Record:
    tried = [({"method": key}, value) for key, value in reached.items()]
    return Record("images", data, data, "", "accuracy", max(reached.values()), tried, facts={"rows": 100.0})


def rules(*keys: str) -> Any:
    def ranked(_: Any) -> Sequence[str]:
        return keys

    return ranked


def test_a_study_is_what_each_method_reached_at_its_best_on_the_data_of_most_arms() -> None:
    found = outcome(summary(), {"rows": 10.0})
    assert found is not None
    assert found.tried == [({"method": "dcl"}, 0.9), ({"method": "simclr"}, 0.6)]
    assert found.reference == 0.9
    assert found.facts == {"rows": 10.0}


@pytest.mark.parametrize("given", [
    summary(a=("dcl", "one", 0.8), b=("dcl", "one", 0.7)), summary(a=("dcl", "one", 0.8), b=("sla", "two", 0.7)),
    summary(a=("dcl", "one", 0.8), b=("sla", "one", None)), summary(a=("dcl", "one", 0.8), b=("sla", "one", -0.1)),
    summary(primary="error"),
])  # fmt: skip
def test_what_cannot_be_compared_leaves_no_record(given: dict[str, Any]) -> None:
    assert outcome(given, {}) is None


def test_records_are_kept_once_and_not_at_all_when_switched_off(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(stored("images"))
    first, again = keep(summary(), {"rows": 10.0}), keep(summary(), {"rows": 10.0})
    assert first == again
    assert len(list(folder.iterdir())) == 1
    assert len(stored("images")) == before + 1
    (folder / "damaged.json").write_text("{")
    (folder / "other.json").write_text(json.dumps({"method": "images"}))
    assert len(stored("images")) == before + 1
    monkeypatch.setenv("COUNTERPOINT_RECORDS", "off")
    assert keep(summary("other"), {}) is None
    assert len(stored("images")) == before


def test_a_folder_that_cannot_be_written_costs_the_record_alone(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(learnt, "store", lambda: tmp_path / "file" / "records")
    assert keep(summary(), {}) is None


def test_records_have_the_word_where_they_choose_better_than_the_rules() -> None:
    records = [record(name, dcl=0.9, simclr=0.5, sla=0.4) for name in ("one", "two", "three")]
    found = learn("images", {"rows": 100.0}, ["dcl", "simclr", "sla", "new"], rules("sla", "dcl"), records)
    assert found.speaks
    assert found.gain == pytest.approx(1 - 0.4 / 0.9)
    assert list(found.foretold) == ["dcl", "simclr", "sla"]
    assert (found.records, found.sets) == (3, 3)
    assert 0 <= found.error < 0.2
    assert "the records have the word" in found.sentence()


def test_the_rules_have_the_word_where_they_are_as_good_or_records_are_few() -> None:
    records = [record(name, dcl=0.9, simclr=0.5) for name in ("one", "two", "three")]
    same = learn("images", {"rows": 100.0}, ["dcl", "simclr"], rules("dcl"), records)
    assert same.gain == pytest.approx(0.0)
    assert not same.speaks
    assert "so the rules have the word" in same.sentence()
    few = learn("images", {"rows": 100.0}, ["dcl"], rules("dcl"), records[:2])
    assert few == Learnt(2, 2)
    assert "too few" in few.sentence()


def test_the_left_out_set_takes_no_part_in_its_own_forecast() -> None:
    odd = record("odd", dcl=0.1, simclr=1.0)
    records = [record(name, dcl=1.0, simclr=0.1) for name in ("one", "two", "three")] + [odd]
    found = learn("images", {"rows": 100.0}, ["dcl", "simclr"], rules("simclr"), records)
    # On three sets dcl is chosen, 0.9 above the rules' choice; on the odd one, too, 0.9 below it.
    assert found.gain == pytest.approx((3 * 0.9 - 0.9) / 4)


def test_the_package_brings_records_of_its_evidence() -> None:
    kinds = {kind: len({each.data for each in stored(kind)}) for kind in ("images", "problems", "text")}
    assert kinds["problems"] >= 3


def test_a_finished_comparison_leaves_its_record(folder: Path, recipe: Any, tmp_path: Path) -> None:
    from toy_methods import Nothing

    from counterpoint.study.compare import compare
    from counterpoint.study.plan import Entry, Plan

    entries = [
        Entry(name="learns", recipe=recipe()),
        Entry(name="does not", recipe=recipe(method=Nothing()), baseline=True),
    ]
    compare(Plan(what="compare", entries=entries, seeds=2), tmp_path / "study")
    (path,) = folder.iterdir()
    record = Record.from_dict(json.loads(path.read_text()))
    assert {s["method"] for s, _ in record.tried} == {"toy-logistic", "toy-nothing"}
    assert record.facts["rows"] > 0
    assert record.method == "toy"
