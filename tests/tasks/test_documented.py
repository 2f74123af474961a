"""Every data option of every kind is documented, and as its loader takes it."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys

import pytest

from counterpoint.cli.options import pairs
from counterpoint.tasks import documented
from counterpoint.tasks.task import described, kinds


@pytest.mark.parametrize("kind", kinds())
def test_the_options_are_those_of_the_loaders(kind: str) -> None:
    loaders = described(kind).loaders
    assert "" in loaders
    every = documented.data_options(kind)
    for name, loader in loaders.items():
        module, _, function = loader.partition(":")
        parameters = inspect.signature(getattr(importlib.import_module(module), function)).parameters
        wanted = {one for one in parameters if one not in ("spec", "name")}
        listed = {option.name for options in (every[""], every.get(name, [])) for option in options}
        assert wanted <= listed, wanted - listed
    for options in every.values():
        for option in options:
            assert option.what, f"{kind}: say in the loader's docstring what {option.name} does"
            assert list(pairs([option.typed.removeprefix("--data-option ")], "")) == [option.name]


def test_the_help_lists_them_all_and_loads_no_torch() -> None:
    code = "import sys; from counterpoint.cli.main import main\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", "--help"], capture_output=True, text=True, check=True
    )
    for kind in kinds():
        for options in documented.data_options(kind).values():
            for option in options:
                assert option.typed in done.stdout, option.typed


def test_every_hint_is_as_it_is_typed() -> None:
    names = {
        option.name
        for kind in kinds()
        for options in documented.data_options(kind).values()
        for option in options
    }
    bare = re.compile(
        rf"\b(?:with|out with|name it(?: with)?:?|pass|such as|e\.g\.) ({'|'.join(names)})=(?![={{])"
    )
    folder = documented.PACKAGE
    for part in ("data", "tasks", "models", "evaluation", "methods"):
        for path in (folder / part).rglob("*.py"):
            assert not bare.findall(path.read_text(encoding="utf-8")), path
