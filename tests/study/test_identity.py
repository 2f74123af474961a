"""A run is what it starts from, by content: paths may be written in any way, a replaced model is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from counterpoint import api
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny
from counterpoint.study import sources
from counterpoint.study.recipe import Recipe
from counterpoint.study.store import Result
from counterpoint.training import Interrupted, Run

SETTINGS = {"lora_rank": 0, "batch_size": 4}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny(seed=0).save(tmp_path / "base")
    rows = [{"prompt": f"{n}+{n}=", "completion": str(2 * n)} for n in range(30)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begin(**given: str) -> None:
    """A run that is interrupted after its first steps, with a checkpoint."""
    step = Run.step

    def stops(run: Run, *args: object, **named: object) -> float:
        loss = step(run, *args, **named)  # type: ignore[arg-type]
        if run.cursor.spent["steps"] == 2:
            run._signals.requested = True
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "step", stops)
        with pytest.raises(Interrupted):
            go(**given)


def go(data: str = "sums.jsonl", model: str = "base", out: str = "out") -> Result:
    return api.run(
        "sft", data=data, model=model, out=out, steps=6, settings=SETTINGS, evaluate=False, progress=False
    )


def test_paths_in_any_form_are_the_same_run(home: Path) -> None:
    begin()
    go(data="./sums.jsonl", model=f"../{home.name}/base/")
    go(data=str(home / "sums.jsonl"), model=str(home / "base"))


def test_a_copy_elsewhere_is_the_same_model(home: Path) -> None:
    begin()
    shutil.copytree("base", "copy")
    go(model="copy")


def test_resume_works_from_anywhere(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    begin()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "base").mkdir()
    os.chdir(elsewhere)
    resumed = api.resume(home / "out", progress=None)
    assert isinstance(resumed, Result)
    assert resumed.spent["steps"] == 6


def test_a_replaced_base_model_is_refused(home: Path) -> None:
    begin()
    shutil.rmtree("base")
    tiny(seed=1).save(home / "base")
    for again in (go, lambda: api.resume("out")):
        with pytest.raises(CounterpointError, match="starting model"):
            again()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize("layout", [{"indent": 7}, {"separators": (",", ":"), "sort_keys": True}])
def test_a_reformatted_configuration_is_the_same_model(home: Path, name: str, layout: dict) -> None:
    begin()
    file = home / "base" / name
    before, said = sources.content("base"), json.loads(file.read_text())
    text = json.dumps(dict(reversed(said.items())), **layout)
    assert text != file.read_text()
    file.write_text(text)
    assert sources.content("base") == before != sources.content("base", form=2)
    go()


@pytest.mark.parametrize(
    "changed", [lambda said: {**said, "n": 1}, lambda said: dict(list(said.items())[1:])]
)
def test_a_configuration_that_says_something_else_is_another_model(home: Path, changed) -> None:
    begin()
    file = home / "base" / "config.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text())), indent=2))
    with pytest.raises(CounterpointError, match="starting model"):
        go()


def test_a_damaged_configuration_counts_by_its_bytes(home: Path) -> None:
    seen = set()
    for text in ("{", "{ ", '{"a": 1}', '{ "a":1}'):
        (home / "base" / "config.json").write_text(text)
        seen.add(sources.content("base"))
    assert len(seen) == 3


def test_a_run_whose_identity_has_the_form_before_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Recipe.identity
    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "identity", lambda self, fingerprint, form=2: identity(self, fingerprint, form))
        begin()
    assert json.loads((home / "out" / "run.json").read_text())["identity"]["form"] == 2
    go()


def test_a_replaced_base_of_an_adapter_is_another_model(home: Path) -> None:
    adapter = home / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(home / "base")}))
    before = sources.content("adapter")
    tiny(seed=1).save(home / "base")
    assert sources.content("adapter") != before


def test_what_a_training_left_beside_a_model_is_none_of_it(home: Path) -> None:
    before = sources.content("base")
    for name in (
        "optimizer.pt",
        "trainer_state.json",
        "events.out.tfevents.1.host",
        "train.log",
        "README.md",
        ".gitattributes",
    ):
        (home / "base" / name).write_text("x")
    (home / "base" / "runs").mkdir()
    (home / "base" / "runs" / "events.out.tfevents.2").write_text("x")
    assert sources.content("base") == before
    (home / "base" / "config.json").write_text(
        (home / "base" / "config.json").read_text().replace("1e-06", "1e-05")
    )
    assert sources.content("base") != before


def test_a_store_of_a_teacher_stays_where_it_was(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = {"store": "answers", "on_policy": 0.0, "beta": 0.0, **SETTINGS}

    def again(**changed: object) -> Result:
        given: dict[str, object] = {
            "data": str(home / "sums.jsonl"),
            "model": str(home / "base"),
            "out": str(home / "out"),
        }
        return api.run(
            "gkd", steps=4, evaluate=False, progress=False, **{**given, "settings": settings, **changed}
        )  # type: ignore[arg-type]

    whole = again(out=str(home / "whole"), settings={**settings, "store": str(home / "other")})
    step = Run.step

    def stops(run: Run, *args: object, **named: object) -> float:
        loss = step(run, *args, **named)  # type: ignore[arg-type]
        run._signals.requested = run.cursor.spent["steps"] == 2
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "step", stops)
        with pytest.raises(Interrupted):
            again(data="sums.jsonl", model="base", out="out")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    os.chdir(elsewhere)
    resumed = api.resume(home / "out", progress=None)
    assert isinstance(resumed, Result)
    assert resumed.spent["steps"] == whole.spent["steps"] == 4
    assert (home / "answers").is_dir()
    assert not list(elsewhere.iterdir())
    with pytest.raises(CounterpointError, match=r"holds another run \(settings\.store"):
        again()
    assert again(settings={**settings, "store": str(home / "answers")}).spent == resumed.spent


def test_a_finished_run_is_shown_without_its_data_and_model(home: Path) -> None:
    result = go()
    shutil.rmtree("base")
    (home / "sums.jsonl").unlink()
    shown = api.resume("out")
    assert isinstance(shown, Result)
    assert shown.spent == result.spent


def test_runs_of_the_former_form_go_on(home: Path) -> None:
    begin()
    file = home / "out" / "run.json"
    stored = json.loads(file.read_text())
    stored["recipe"].pop("cwd")
    stored.pop("seal")
    stored["identity"] = {
        name: stored["recipe"].get(name, value)
        for name, value in stored["identity"].items()
        if name != "form"
    }
    assert stored["identity"]["model"] == "base"
    file.write_text(json.dumps(stored))
    go(model=str(home / "base"))


def test_names_stay_names_beside_a_folder_of_that_name(home: Path) -> None:
    (home / "digits").mkdir()
    (home / "conv-small").mkdir()
    assert sources.located_data("digits", str(home), {"digits": ""}) == "digits"
    assert sources.located("conv-small", str(home)) == sources.content("conv-small") == "conv-small"
    (home / "text").write_text("a file that has the name of a column")
    assert sources.content({"text": "text"}) == {"text": "text"}
    assert sources.located("sums.jsonl", str(home)) == str(home / "sums.jsonl")


def test_a_large_file_is_read_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(home / "cache"))
    monkeypatch.setattr(sources, "LARGE", 10)
    sources._remembered.cache_clear()
    found = sources.digest(home / "sums.jsonl")
    notes = list((home / "cache" / "digests").iterdir())
    assert [note.read_text() for note in notes] == [found]
    (home / "sums.jsonl").write_text("other content")
    sources._remembered.cache_clear()
    assert sources.digest(home / "sums.jsonl") != found
