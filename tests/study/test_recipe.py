"""What a run's folder says of its method and kind: keys, never modules to import; older folders are read."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from counterpoint import api
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method
from counterpoint.methods.catalog import load
from counterpoint.study.recipe import Recipe, recipe_of
from counterpoint.tasks.task import task

OLD = {
    "method": "counterpoint.methods.simclr:SimCLR",
    "key": "simclr",
    "settings": {"batch_size": 16},
    "task": "counterpoint.study.tasks.images",
    "kind": "images",
    "data": "digits",
    "data_options": {},
    "model": "conv-small",
    "seed": 1,
    "budget": {"steps": 3},
    "splits": ["test"],
}


def test_an_older_recipe_names_modules_that_moved_and_is_read() -> None:
    recipe = Recipe.from_dict(OLD)
    assert recipe.method is None
    assert recipe.task is None
    assert type(recipe.build_method()) is load("simclr")
    assert recipe.build_task() is task("images")


def test_a_run_begun_by_an_older_version_goes_on(tmp_path: Path) -> None:
    """The folder as it was written before, stopped before its first step."""
    recipe = Recipe.from_dict(OLD)
    fingerprint = task("images").load_data("digits").fingerprint()
    stored = {"identity": recipe.identity_by_path(fingerprint), "recipe": {**recipe.as_dict(), **OLD}}
    (tmp_path / "run.json").write_text(json.dumps(stored))
    result: Any = api.resume(tmp_path)
    assert result.spent["steps"] == 3
    assert (tmp_path / "model" / "config.json").exists()


def test_the_folder_names_a_kind_and_a_key_and_no_module(tmp_path: Path) -> None:
    api.run(
        "simclr", data="digits", out=tmp_path / "run", steps=1, evaluate=False, settings={"batch_size": 16}
    )
    stored = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    assert (stored["key"], stored["kind"]) == ("simclr", "images")
    assert "counterpoint." not in json.dumps(stored)


@dataclass(kw_only=True)
class Own(Method[Any, Any]):
    """A method of a person's own."""

    key: ClassVar[str] = "own"

    def fit(self, model: Any, data: Any, run: Any) -> Any:
        """Nothing to learn."""
        return model


def test_an_own_method_is_found_where_it_is_imported() -> None:
    recipe = Recipe.from_dict(recipe_of(Own(), "images", data="digits", model="conv-small").as_dict())
    assert recipe.method_class() is Own
    assert recipe.foreign_modules() == [__name__]


def test_a_module_named_by_a_file_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lying_in_wait.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = Recipe.from_dict({**OLD, "key": "own", "method": "lying_in_wait:Own"})
    with pytest.raises(CounterpointError, match="import lying_in_wait, then counterpoint.resume"):
        recipe.build_method()
    assert "lying_in_wait" not in sys.modules
