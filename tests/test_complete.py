"""The definition of done: what every method that runs must have, or the catalog says under ``without`` why it has not.

Nothing is listed here by hand: pages, cases, evidence and vectors are files; the rest are the tables that the shared tests run.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from counterpoint.cases import case, cases
from counterpoint.methods.catalog import Row, ready, rows

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
FILES = TESTS / "vectors" / "files"


def opened(path: Path) -> ModuleType:
    """A test module by its file, with its folder importable as when it is run."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"_complete_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def in_case() -> set[str]:
    """Methods that are an arm of a case whose evidence is there."""
    with_evidence = [key for key in cases() if (DOCS / "evidence" / f"{key}.json").exists()]
    return {found.arm(name).method for found in map(case, with_evidence) for name in found.arms}


@cache
def on_pages() -> set[str]:
    """Methods whose page is run by a test of tests/pages."""
    found: set[str] = set()
    for path in (TESTS / "pages").glob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        found |= {key for key in rows() if f'"{key}"' in text}
        if "in ready()" in text:  # a list drawn from the catalog
            found |= set(opened(path).KEYS)
    return found


@cache
def killed(folder: Path) -> set[str]:
    """Methods of the runs that are killed."""
    return {make(folder).key for make in opened(TESTS / "crash" / "seeded_runs.py").runs().values()}


@cache
def on_two() -> set[str]:
    """Methods that a script of tests/ranks trains on two processes."""
    found: set[str] = set()
    for path in sorted((TESTS / "ranks").glob("*_ranks.py")):
        script = opened(path)
        found |= set(getattr(script, "KEYS", ())) or {
            first for first, *_ in getattr(script, "METHODS", {}).values()
        }
    return found


@cache
def wrongly_set() -> set[str]:
    """Methods whose settings are tried out of range."""
    return {key for key, _, _ in opened(TESTS / "methods" / "test_wrong_settings.py").WRONG}


def lacking(row: Row, folder: Path) -> set[str]:
    """What a method lacks of the definition of done, by the names that ``without`` uses."""
    key = row.key
    has = {
        "page": (DOCS / "methods" / f"{key}.md").exists(),
        "page-test": key in on_pages(),
        "case": key in in_case() if row.baseline else key in cases(),
        "evidence": key in in_case() if row.baseline else (DOCS / "evidence" / f"{key}.json").exists(),
        "vectors": bool(row.vectors)
        and all(any(f.stem.startswith(name) for f in FILES.glob("*.npz")) for name in row.vectors),
        "kill": key in killed(folder),
        "two-processes": key in on_two(),
        "wrong-input": key in wrongly_set(),
    }
    return {name for name, there in has.items() if not there}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("key", ready())
def test_a_ready_method_is_complete_or_says_why_not(key: str, folder: Path) -> None:
    row = ready()[key]
    assert lacking(row, folder) == set(row.without), (
        f"{key}: lacks (left) what [.. {key}.without] of methods/catalog.toml gives reasons for (right)"
    )
    assert all(len(reason.split()) > 3 for reason in row.without.values()), "a reason is a sentence"


def test_a_method_without_anything_is_noticed(folder: Path) -> None:
    new = Row(key="nothing", title="", paper="", year=2026, family="", kind="images", line="")
    assert lacking(new, folder) == {
        "page", "page-test", "case", "evidence", "vectors", "kill", "two-processes", "wrong-input",
    }  # fmt: skip


def test_every_vector_file_belongs_to_a_method() -> None:
    named = tuple(name for row in rows().values() for name in row.vectors)
    left = [f.stem for f in FILES.glob("*.npz") if not f.stem.startswith(named)]
    assert not left, left


def test_planned_methods_promise_nothing() -> None:
    assert not [key for key, row in rows().items() if not row.ready and (row.without or row.vectors)]


@pytest.mark.parametrize("page", sorted((DOCS / "methods").glob("*.md")), ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
