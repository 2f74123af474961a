"""The shape of the package: no module imports in a circle, and no folder is too full to look through."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FULLEST = 26
"""Files in one folder, beyond which a reader scrolls."""
ONE_EACH = {
    "docs/evidence": "one file of figures a method",
    "docs/methods": "one page a method",
    "src/counterpoint/cases": "one case a method",
    "src/counterpoint/methods": "one file a method",
    "src/counterpoint/methods/baselines": "one file a baseline",
    "tests/methods": "one file of tests a method",
    "tests/vectors": "one file a method's vectors",
    "tests/vectors/files": "one file of vectors a method",
}
"""Folders that hold one file for each of thirty-nine methods, or of their baselines, and so are longer."""

UNCLEAR = {
    "said", "asked", "heard", "told", "found", "place", "kept", "known", "lesson", "lessons", "voice", "voices", "spoken",
}  # fmt: skip
"""Words that name nothing of the field: an identifier says what a value is (completion, prompt, index, path, result)."""
ALLOWED = {
    "FileNotFoundError": "Python's own",
    "ModuleNotFoundError": "Python's own",
    "PackageNotFoundError": "Python's own",
    "RepositoryNotFoundError": "huggingface_hub's",
    "RevisionNotFoundError": "huggingface_hub's",
    "LocalEntryNotFoundError": "huggingface_hub's",
    "LocalTokenNotFoundError": "huggingface_hub's",
    "kept_mb": "a field of bundled/catalog.toml: the size of what is kept of a download",
    "voice": "a column of the bundled recordings: whose voice is heard",
    "voices": "the name of a bundled data set, which its converter bears",
    "voices_it": "as voices",
    "voices_en": "as voices",
    "_voices": "as voices",
    "VOICES": "as voices",
}
"""Identifiers with such a word that stay, and why."""


def names() -> dict[str, Path]:
    """Dotted name -> file of every module of the package."""
    found = {}
    for path in sorted((SOURCE / "counterpoint").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def top_level(tree: ast.Module) -> list[ast.stmt]:
    """Statements that run when the module is imported, and those that only a type checker follows."""
    found, left = [], list(tree.body)
    while left:
        node = left.pop()
        if isinstance(node, ast.If | ast.Try | ast.With):
            left += [*node.body, *getattr(node, "orelse", []), *getattr(node, "finalbody", [])]
            left += [each for handler in getattr(node, "handlers", []) for each in handler.body]
        else:
            found.append(node)
    return found


def imported(statements: list[ast.AST], known: set[str]) -> set[str]:
    """Modules of the package that these statements import; ``from package import module`` is the module."""
    found = set()
    for node in statements:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & known) or {node.module}
    return found & known


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of two or more modules that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        path.append(node)
        for other in sorted(edges[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in path:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = path.index(node)
            group = path[at:]
            del path[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def graph(everywhere: bool) -> dict[str, set[str]]:
    """Who imports whom, at the top of a file (types' imports included) or, with ``everywhere``, in functions too.

    A package's ``__init__`` hands out its modules' names lazily; those edges are left out, for they run upwards by design.
    """
    modules = names()
    edges = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        statements = list(ast.walk(tree)) if everywhere else top_level(tree)
        own = set() if path.name == "__init__.py" else imported(statements, set(modules))
        edges[name] = own - {name}
    return edges


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that the source gives to something or uses, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name():
                yield node.id, line
            case ast.Attribute():
                yield node.attr, line
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, line
            case ast.arg() | ast.keyword():
                yield node.arg or "", line
            case ast.alias():
                yield node.asname or node.name, line


def unclear(name: str) -> bool:
    words = re.split(r"_+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return not UNCLEAR.isdisjoint(words)


def test_an_unclear_name_is_seen() -> None:
    tree = ast.parse("def told(kept_rows, *, place): FoundIt.known = said(heard=1)")
    assert {name for name, _ in identifiers(tree) if unclear(name)} == {
        "told", "kept_rows", "place", "FoundIt", "known", "said", "heard",
    }  # fmt: skip
    assert not unclear("foundation")
    assert not unclear("placed")


def test_names_are_the_fields_words() -> None:
    every = {
        (name, f"{path.relative_to(SOURCE)}:{line}")
        for path in names().values()
        for name, line in identifiers(ast.parse(path.read_text(encoding="utf-8")))
        if unclear(name)
    }
    wrong = sorted(f"{where} {name}" for name, where in every if name not in ALLOWED)
    assert not wrong, f"say what the value is (completion, prompt, index, path, result): {wrong}"
    assert {name for name, _ in every} >= set(ALLOWED), "a name that is allowed and no longer there"


def test_a_circle_is_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_modules_do_not_import_in_a_circle() -> None:
    assert circles(graph(everywhere=False)) == []


def test_imports_inside_functions_make_no_circle_either() -> None:
    assert circles(graph(everywhere=True)) == []


def test_no_folder_is_too_full() -> None:
    root = SOURCE.parent
    full = Counter(
        path.parent.relative_to(root).as_posix()
        for top in ("src", "tests", "docs", "benchmarks")
        for path in (root / top).rglob("*")
        if path.is_file() and path.name != "__init__.py" and "__pycache__" not in path.parts
    )
    crowded = {folder: count for folder, count in full.items() if count > FULLEST and folder not in ONE_EACH}
    assert not crowded, f"folders with more than {FULLEST} files: {crowded}"
    assert all(full[folder] > FULLEST for folder in ONE_EACH), "a folder that is no longer an exception"


def test_nothing_that_a_run_wrote_is_committed() -> None:
    root = SOURCE.parent
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("no repository: an archive holds what was committed")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
    files = [Path(name) for name in listed.stdout.split("\0") if name]
    assert files
    written = {
        "events.jsonl",
        "samples.jsonl",
        "run.json",
        "result.json",
        "result.pt",
        ".lock",
        "structure.json",
    }
    assert [
        str(path) for path in files if path.name in written or path.suffix in (".pt", ".pkl", ".bin")
    ] == []
    assert {path.parts[0] for path in files if len(path.parts) > 1} == {
        ".ci", "benchmarks", "docs", "requirements", "src", "tests", "website",
    }  # fmt: skip
