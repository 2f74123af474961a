"""Every public function of the objectives is in the table, once: with a form, or with the reason why it goes through no adapter."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import counterpoint
from counterpoint.errors import CounterpointError
from counterpoint.integrations import catalog

FOLDER = Path(counterpoint.__file__).parent / "objectives"


def test_every_public_function_is_in_the_table_once() -> None:
    there = set()
    for file in FOLDER.rglob("*.py"):
        module = ".".join(file.relative_to(FOLDER).with_suffix("").parts)
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                there.add(f"{module}:{node.name}")
    listed = [path for path, _ in catalog.OBJECTIVES.values()]
    listed += [path for line in catalog.LEFT_OUT.values() for path in catalog.paths(line)]
    assert len(listed) == len(set(listed))
    assert there - set(listed) == set()
    assert set(listed) - there == {
        "distillation.divergence:divergence"
    }  # the kernel's, by its place among the objectives


def test_every_objective_can_be_imported_and_has_a_form() -> None:
    for name, (_, form) in catalog.OBJECTIVES.items():
        assert callable(catalog.function_of(name))
        assert form in catalog.FORMS
        assert bool(catalog.FORMS[form].columns) != bool(catalog.FORMS[form].why), form


@pytest.mark.parametrize(
    ("name", "message"),
    [("decouple", "did you mean 'decoupled'"), ("best_temperature", "is a whole step or an exact solution")],
)
def test_names_that_go_through_nothing(name: str, message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        catalog.form_of(name)
