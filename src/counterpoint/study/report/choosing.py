"""The page "which method for my data", drawn from the rules of ``recommend``: ``python -m counterpoint.study.report.choosing docs/choose.md``.

A rule's condition is shown as it is written in ``study/recommend.py``, so that the page cannot say anything else than the command does.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from counterpoint.study import recommend

START, END = "<!-- rules -->", "<!-- /rules -->"
FACT = re.compile(r"\(f\.(\w+) or [\d.]+\)|\bf\.(\w+)")


def conditions() -> list[str]:
    """What each rule asks of the facts, in the order of ``RULES``; "" where it asks nothing."""
    tree = ast.parse(Path(recommend.__file__).read_text(encoding="utf-8"))
    [rules] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "RULES"
    ]
    assert isinstance(rules, ast.Tuple)
    return [_condition(call) for call in rules.elts]


def _condition(call: ast.expr) -> str:
    assert isinstance(call, ast.Call)
    given = [*call.args, *(each.value for each in call.keywords)]
    written = [each.body for each in given if isinstance(each, ast.Lambda)]
    return FACT.sub(lambda match: match[1] or match[2], ast.unparse(written[0])) if written else ""


def tables(pages: str = "methods") -> str:
    """A table per kind of data, what is suggested first on top."""
    every = list(zip(recommend.RULES, conditions(), strict=True))
    parts = []
    for kind in dict.fromkeys(rule.kind for rule, _ in every):
        lines = [
            f"## {kind.capitalize()}",
            "",
            "| method | when it fits | asked of the data | weight |",
            "|---|---|---|---|",
        ]
        ours = sorted((each for each in every if each[0].kind == kind), key=lambda each: -each[0].weight)
        for rule, condition in ours:
            shown = f"`{condition}`" if condition else ""
            model = f"; from `--model {rule.model}`" if rule.model else ""
            lines.append(
                f"| [`{rule.key}`]({pages}/{rule.key}.md) | {rule.why}{model} | {shown} | {rule.weight:g} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def refreshed(text: str) -> str:
    """The page with its tables as the rules are now."""
    before, _, rest = text.partition(START)
    return f"{before}{START}\n\n{tables()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
