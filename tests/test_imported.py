"""A person's own module: what goes wrong while it is read is one line with its file and line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.imported import imported

WRONG = {
    "syntax": ("def f(x):\n    return x\n\ndef g(:\n", "own.py, line 4: SyntaxError: "),
    "indent": ("def f():\nreturn 1\n", "own.py, line 2: IndentationError: "),
    "missing": (
        "import sys\nimport not_there_at_all\n",
        "own.py, line 2: ModuleNotFoundError: No module named",
    ),
    "name": ("from os import not_there\n", "own.py, line 1: ImportError: cannot import name"),
    "division": ("x = 1\ny = x / 0\n", "own.py, line 2: ZeroDivisionError: division by zero"),
    "leaves": ("import sys\nsys.exit(3)\n", "own.py, line 2: SystemExit: 3"),
    "deep": (
        "def g():\n    raise RuntimeError('two\\nlines')\n\ng()\n",
        "own.py, line 2: RuntimeError: two lines",
    ),
    "attribute": ("import math\nmath.nope\n", "own.py, line 2: AttributeError: "),
}


@pytest.mark.parametrize("how", ["file", "module"])
@pytest.mark.parametrize("wrong", WRONG)
def test_an_error_of_the_module(
    wrong: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, says = WRONG[wrong]
    name = f"wrong_{wrong}_{how}"
    file = tmp_path / f"{name}.py"
    file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CounterpointError) as error:
        imported(f"{file if how == 'file' else name}:f")
    assert says.replace("own.py", file.name) in str(error.value)
    assert "\n" not in str(error.value)
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "spec", ["nothing.py:f", "no.module:f", "math:nothing", "..x:f", "{folder}:f", "{bytes}:f"]
)
def test_no_such_file_module_or_name(spec: str, tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00bad")
    given = spec.format(folder=tmp_path / "folder.py", bytes=tmp_path / "bytes.py")
    with pytest.raises(CounterpointError, match="cannot be imported as a function: ") as error:
        imported(given)
    assert "\n" not in str(error.value)
