"""No line of an equation begins as a list does, which GitHub would draw as one."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
LIST = re.compile(r"\s*([+*-]|\d+[.)])(\s|$)")


def listed(page: str) -> list[str]:
    """Lines inside of ``$$`` that begin as a list's."""
    lines, inside = [], False
    for line in page.splitlines():
        if inside and LIST.match(line):
            lines.append(line)
        inside ^= line.count("$$") % 2 == 1
    return lines


def test_equations_are_no_lists() -> None:
    assert listed("$$a\n + b$$\n + c") == [" + b$$"]
    assert {
        page.name: listed(page.read_text(encoding="utf-8"))
        for page in DOCS.rglob("*.md")
        if listed(page.read_text(encoding="utf-8"))
    } == {}
