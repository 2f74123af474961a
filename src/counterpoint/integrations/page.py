"""The tables of docs/trainers.md, drawn from the catalog: ``python -m counterpoint.integrations.page docs/trainers.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from counterpoint.integrations.catalog import FORMS, LEFT_OUT, OBJECTIVES, paths


def objectives() -> str:
    """The table of what goes through which adapter, and below it what goes through none."""
    lines = ["| objective | as a module, called with | columns of sentence-transformers |", "|---|---|---|"]
    for form, each in FORMS.items():
        names = ", ".join(f"`{name}`" for name, (_, own) in OBJECTIVES.items() if own == form)
        lines.append(f"| {names} | {each.call} | {each.columns or f'none: it {each.why}'} |")
    lines += ["", "Through no adapter:", "", "| function | why not |", "|---|---|"]
    for why, listed in LEFT_OUT.items():
        names = ", ".join(f"`{path.partition(':')[2]}`" for path in paths(listed))
        lines.append(f"| {names} | {why} |")
    return "\n".join(lines)


def refreshed(text: str) -> str:
    """The page with its tables and lists as they are now."""
    from counterpoint.objectives.preference.policy import VARIANTS
    from counterpoint.objectives.preference.preference import PAIRWISE

    drawn = {
        "objectives": f"\n{objectives()}\n",
        "preferences": ", ".join(f"`{name}`" for name in PAIRWISE),
        "policies": ", ".join(f"`{name}`" for name in VARIANTS),
    }
    for name, content in drawn.items():
        before, start, rest = text.partition(f"<!-- {name} -->")
        text = before + start + content + rest[rest.index(f"<!-- /{name} -->") :]
    return text


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
