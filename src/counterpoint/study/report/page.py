"""One self-contained HTML page from finished runs and studies: nothing is fetched, nothing is computed but figures on disk."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.study.files import read_sealed, write_text
from counterpoint.study.report import run as report_run
from counterpoint.study.report import study as report_study
from counterpoint.study.store import Result, is_run, is_study


def write_report(folders: Sequence[Path], to: Path | None = None) -> Path:
    """Draw runs and studies on one page.

    Args:
        folders: ``--out`` folders, in the order they shall appear. to: None means ``report.html`` in the first.

    Raises:
        CounterpointError: a folder holds nothing finished.
    """
    if not folders:
        raise CounterpointError("nothing to report; give the --out folder of a run or a study")
    parts = [_section(folder, f"s{i}") for i, folder in enumerate(folders)]
    title = parts[0][0] if len(parts) == 1 else "Comparisons: " + "; ".join(name for name, _ in parts)
    head = ""
    if len(parts) > 1:
        links = "".join(f'<a href="#s{i}">{escape(name)}</a>' for i, (name, _) in enumerate(parts))
        head = f'<p class="eyebrow">counterpoint report</p><nav>{links}</nav><div style="height:2rem"></div>'
    page = Template(resource("report.html")).substitute(
        title=escape(title),
        style=resource("report.css"),
        body=head + "\n".join(html for _, html in parts),
        version=metadata.version("counterpoint"),
    )
    target = to or folders[0] / "report.html"
    write_text(target, page)
    return target


def _section(folder: Path, anchor: str) -> tuple[str, str]:
    if is_study(folder):
        if not (folder / "summary.json").exists():
            raise CounterpointError(
                f"the study in {folder} is not finished; counterpoint resume {folder} goes on with it"
            )
        summary: dict[str, Any] = read_sealed(folder / "summary.json", *report_study.READ)
        return report_study.section(summary, folder, anchor)
    if is_run(folder):
        return report_run.section(Result.read(folder), anchor)
    raise CounterpointError(f"{folder} holds neither a run nor a study; give the --out folder of one")


def resource(name: str) -> str:
    """The text of one of the page's own files."""
    return files("counterpoint.study.report").joinpath("page", name).read_text(encoding="utf-8")
