"""What mkdocs does with docs/ beyond its own: the methods in the navigation, CONTRIBUTING and an API page, GitHub's lists, equations.

Read by ``website/mkdocs.yml``. mkdocs is imported where it is used, so that a test reads the navigation without it.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from html import unescape
from pathlib import Path
from typing import Any

import counterpoint
from counterpoint.methods.catalog import rows
from counterpoint.study.options import RunOptions

ROOT = Path(__file__).parents[1]
log = logging.getLogger("mkdocs.hooks.counterpoint")

MADE = ("api.md", "contributing.md")
"""Pages of the site that are no files of docs/."""

ASSETS = {"assets/iframe-worker.js": "iframe-worker.js", "assets/site.css": "site.css"}
"""Where files beside this one are on the site."""

ALSO = (
    "counterpoint.study.store.Result",
    "counterpoint.study.recommend.Recommendation",
    "counterpoint.prediction.predict.Predicted",
)
"""What the exported functions return."""

API = """# From Python

What `import counterpoint` gives; importing it loads no torch. The same from a shell: `counterpoint COMMAND --help`.
Objectives and judges as parts of your own trainer have [a page of their own](trainers.md), and so has every
[method's class](methods/index.md).

## Functions

{functions}

## Options of a run

Keywords of `run`, `compare`, `ablate` and `tune`, and flags of the commands (`eval_every` is `--eval-every`; `data_options` and
`model_options` are `--data-option` and `--model-option`, once each).

{options}

## What they return and raise

{others}
"""

FENCE = re.compile(r"^\s*(```|~~~)")
LIST = re.compile(r"^([-*+]|1\.) ")
ITEM = re.compile(r"^\s*([-*+]|\d+\.) ")
LETTER = re.compile(r"\\(mathcal|mathbb|mathbf|mathfrak)\s*([A-Za-z0-9])")
BRACKETS = {r"\{": "{", r"\}": "}", r"\|": "‖"}
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def navigation(written: list[Any]) -> list[Any]:
    """The navigation of mkdocs.yml with the methods below their index: by family, baselines apart, as the catalog orders them."""
    apart: dict[bool, dict[str, list[dict[str, str]]]] = {False: {}, True: {}}
    for key, row in rows().items():
        if row.ready:
            family = row.family[:1].upper() + row.family[1:]
            apart[row.baseline].setdefault(family, []).append({key: f"methods/{key}.md"})
    methods = [{family: pages} for family, pages in apart[False].items()]
    baselines = [{family: pages} for family, pages in apart[True].items()]
    return [
        {"Methods": ["methods/index.md", *methods, {"Baselines": baselines}]}
        if entry == {"Methods": "methods/index.md"}
        else entry
        for entry in written
    ]


def options_table() -> str:
    """The options of a run with their defaults, as the command line explains them."""
    lines = ["| option | default | what it does |", "|---|---|---|"]
    for each in dataclasses.fields(RunOptions):
        default = each.default if each.default_factory is dataclasses.MISSING else each.default_factory()
        shown = "" if default is None or default == {} else f"`{default}`"
        lines.append(f"| `{each.name}` | {shown} | {each.metadata['help']} |")
    return "\n".join(lines)


def api_page() -> str:
    """A page that mkdocstrings fills: every name that ``counterpoint`` exports, then a run's options and what these return."""
    exported = [f"counterpoint.{name}" for name in counterpoint.__all__]
    classes = [name for name in exported if name.rpartition(".")[2][0].isupper()]
    return API.format(
        functions="\n\n".join(f"::: {name}" for name in exported if name not in classes),
        options=options_table(),
        others="\n\n".join(f"::: {name}" for name in (*ALSO, *classes)),
    )


def as_github(text: str) -> str:
    """Blank lines where GitHub needs none and Python-Markdown does: before a list in a paragraph, around a comment of one line.

    >>> as_github("These:\\n- a\\n- b")
    'These:\\n\\n- a\\n- b'
    >>> as_github("$$a\\n- b$$")
    '$$a\\n- b$$'
    >>> as_github("<!-- table -->\\n| a |\\n|---|")
    '<!-- table -->\\n\\n| a |\\n|---|'
    >>> as_github("```\\nThese:\\n- a\\n```")
    '```\\nThese:\\n- a\\n```'
    """
    lines: list[str] = []
    fenced = listed = equation = False
    for line in text.split("\n"):
        before = lines[-1] if lines else ""
        if not fenced and not equation and before.strip():
            begins = bool(LIST.match(line)) and not listed
            if begins or before.startswith("<!--") or line.startswith("<!--"):
                lines.append("")
        if FENCE.match(line):
            fenced = not fenced
        if not fenced:
            equation ^= line.count("$$") % 2 == 1
            listed = bool(ITEM.match(line)) or (listed and bool(line.strip()))
        lines.append(line)
    return "\n".join(lines)


def mathml(page: str, where: str) -> str:
    """Equations as MathML, which browsers draw themselves: no script and no font from elsewhere."""
    from latex2mathml.converter import convert

    def drawn(found: re.Match[str]) -> str:
        display = "block" if found[1] == "div" else "inline"
        latex = unescape(found[2]).strip()
        written = LETTER.sub(
            r"\\\1{\2}", latex
        )  # a letter of another alphabet, where MathML has it, not a letter in a style
        written = re.sub(r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}", written)
        result = convert(written, display=display)
        for (
            command,
            sign,
        ) in BRACKETS.items():  # after \big and its kin the converter leaves them as they were
            result = result.replace(f">{command}<", f">{sign}<")
        left = re.findall(r"\\(?:[a-zA-Z]+|\S)", result)
        if left:
            log.warning("%s: %s is no MathML in: %s", where, ", ".join(left), latex)
        return f'<{found[1]} class="equation">{result}</{found[1]}>'

    return EQUATION.sub(drawn, page)


def on_config(config: Any) -> Any:
    """The whole navigation."""
    config["nav"] = navigation(config["nav"])
    return config


def on_files(files: Any, config: Any) -> Any:
    """The pages that are no files of docs/."""
    from mkdocs.structure.files import File

    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "](")
    for name, content in zip(MADE, (api_page(), contributing), strict=True):
        files.append(File.generated(config, name, content=content))
    for name, source in ASSETS.items():
        files.append(File.generated(config, name, abs_src_path=str(Path(__file__).with_name(source))))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Markdown as GitHub reads it, with CONTRIBUTING as a page of the site."""
    return as_github(re.sub(r"\]\((?:\.\./)+CONTRIBUTING\.md", "](contributing.md", markdown))


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Equations drawn."""
    return mathml(html, page.file.src_uri)
