"""Every wrong change of tests/mutations.py still fits the sources and names tests that are there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_change_fits_the_sources() -> None:
    spec = importlib.util.spec_from_file_location("mutations", HERE / "mutations.py")
    assert spec is not None
    assert spec.loader is not None
    mutations = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutations)
    assert len(mutations.CHANGES) >= 50
    for change in mutations.CHANGES:
        text = (HERE.parent / "src" / "counterpoint" / change.file).read_text(encoding="utf-8")
        assert change.old in text, (
            f"{change.file} has no '{change.old}' any more: mend its line in tests/mutations.py"
        )
        assert text.replace(change.old, change.new, 1) != text
        for named in change.tests.split():
            file, _, name = named.partition("[")[0].partition("::")
            source = (HERE.parent / file).read_text(encoding="utf-8")
            assert re.search(rf"^(def )?{name or 'test_'}", source, re.MULTILINE), (
                f"{named} is not there; mend its line in tests/mutations.py"
            )
