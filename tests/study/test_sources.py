"""What stands in a setting beside its name, folders of pipelines and linked folders: content counts, and paths are seen from anywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from counterpoint.study import sources
from counterpoint.study.recipe import recipe_of
from counterpoint.study.store import claim, grow


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model(tmp_path / "judge")
    (tmp_path / "rewards.py").write_text("def short(**rows): return [0.0]\n")
    (tmp_path / "theory.mm").write_text("$( nothing $)")
    return tmp_path


def model(folder: Path, weights: bytes = b"weights") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)


@pytest.mark.parametrize("prefix", ["scored", "rated", "compared", "anchored", "critic"])
def test_a_judge_counts_by_its_content(home: Path, prefix: str) -> None:
    before = sources.content(f"{prefix}:judge")
    assert before.startswith(f"{prefix}:sha256:")
    assert sources.content(f"{prefix}:./judge/") == sources.content(f"{prefix}:{home}/judge") == before
    (home / "judge").rename(home / "moved")
    assert sources.content(f"{prefix}:moved") == before
    state = (home / "moved" / "model.safetensors").stat()
    (home / "moved" / "model.safetensors").write_bytes(b"WEIGHTS")  # as many bytes, and the time put back
    os.utime(home / "moved" / "model.safetensors", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert sources.content(f"{prefix}:moved") != before


@pytest.mark.parametrize(
    ("setting", "file", "same"),
    [
        ("rewards.py:short", "rewards.py", "./rewards.py:short"),
        ("metamath:theory.mm", "theory.mm", "metamath:./theory.mm"),
    ],
)
def test_a_file_with_code_or_a_theory_counts_by_its_content(
    home: Path, setting: str, file: str, same: str
) -> None:
    before = sources.content({"judge": setting})
    assert before != {"judge": setting}
    assert sources.content({"judge": same}) == before
    (home / file).touch()
    assert sources.content({"judge": setting}) == before
    (home / file).write_text("other")
    assert sources.content({"judge": setting}) != before
    assert sources.content("rewards.py:short") != sources.content("rewards.py:long")


def test_a_file_that_a_person_answers_in_may_grow(home: Path) -> None:
    before = sources.content("person:answers.jsonl")
    (home / "answers.jsonl").write_text("{}\n")
    assert sources.content("person:answers.jsonl") == sources.content("person:./answers.jsonl") == before
    assert sources.located("person:new.jsonl", "/there") == "person:/there/new.jsonl"


@pytest.mark.parametrize("setting", ["scored:judge", "rated:judge", "metamath:theory.mm", "rewards.py:short"])
def test_settings_are_seen_from_another_folder(home: Path, tmp_path_factory, setting: str) -> None:
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    seen = sources.located({"judge": setting}, str(home))["judge"]
    assert str(home) in seen
    assert sources.located(seen, "/other") == seen


@pytest.mark.parametrize(
    "value",
    ["verifier:math", "format:boxed", "rated:self", "rated:name@http://localhost:8000/v1", "math:sqrt", "scored:none", ""],
)  # fmt: skip
def test_what_names_no_file_stays_as_it_is(home: Path, value: str) -> None:
    assert sources.content(value) == sources.located(value, str(home)) == value


def test_a_pipeline_of_diffusers_is_a_model(home: Path) -> None:
    (home / "pipeline" / "unet").mkdir(parents=True)
    (home / "pipeline" / "model_index.json").write_text("{}")
    model(home / "pipeline" / "unet")
    before = sources.content("pipeline")
    assert before == sources.content("./pipeline") != "pipeline"
    assert sources.located("pipeline", str(home)) == str(home / "pipeline")
    assert sources.content("pipeline", form=3) == "pipeline"
    model(home / "pipeline" / "unet", b"others")
    assert sources.content("pipeline") != before


def test_a_linked_folder_of_a_model_is_part_of_it(home: Path) -> None:
    model(home / "elsewhere")
    (home / "judge" / "part").symlink_to(home / "elsewhere", target_is_directory=True)
    (home / "judge" / "back").symlink_to(home / "judge", target_is_directory=True)
    before = sources.content("judge")
    model(home / "elsewhere", b"others")
    assert sources.content("judge") != before
    (home / "link").symlink_to(home / "judge", target_is_directory=True)
    assert sources.content("link") == sources.content("judge")


@pytest.mark.parametrize("form", [2, 3, 4])
def test_a_folder_of_an_earlier_form_goes_on_and_can_be_given_more(home: Path, form: int) -> None:
    from counterpoint.methods.baselines.grpo import GRPO

    def wanted(steps: int):
        method = GRPO(judge="scored:judge")
        return recipe_of(method, "problems", data="digits", model="judge", budget={"steps": steps})

    assert claim(home / "out", wanted(2), "f")
    file = home / "out" / "run.json"
    stored = json.loads(file.read_text()) | {"identity": wanted(2).identity("f", form=form)}
    stored.pop("seal")
    file.write_text(json.dumps(stored))
    assert not claim(home / "out", wanted(2), "f")
    (home / "out" / "checkpoints").mkdir()
    (home / "out" / "checkpoints" / "ended.json").write_text(
        json.dumps({"spent": {"steps": 2}, "closed": ""})
    )
    assert grow(home / "out", wanted(3), "f")
    assert not claim(home / "out", wanted(3), "f")
