"""The site: its navigation names every page of docs/, its Markdown is GitHub's, and what is built needs nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

import counterpoint

ROOT = Path(__file__).parents[2]
DOCS, WEBSITE = ROOT / "docs", ROOT / "website"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
EQUATION = re.compile(r"\$\$.+?\$\$", re.DOTALL)
GITHUB = MarkdownIt("commonmark").enable("table")
COMPARED = ("h1", "h2", "h3", "h4", "ul", "ol", "li", "table", "tr", "td", "pre", "code", "strong", "img")


def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("website_hooks", WEBSITE / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaves(entries: Any) -> Iterator[str]:
    """Pages that a navigation names, in its order."""
    if isinstance(entries, str):
        yield entries
    else:
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from leaves(entry)


class Elements(HTMLParser):
    """How often each element is inside a page's article, and which addresses elements load from."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()
        self.loaded: list[str] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside |= tag == "article"
        if self.inside:
            self.count[tag] += 1
        if tag != "a":
            self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset") and value]

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag != "article"


def build(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(out)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_navigation_names_every_page_once_and_no_other() -> None:
    module = hooks()
    config = yaml.safe_load((WEBSITE / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(leaves(module.navigation(config["nav"]))) == sorted([*PAGES, *module.MADE])


def test_every_exported_name_is_on_the_api_page() -> None:
    drawn = re.findall(r"^::: (\S+)$", hooks().api_page(), re.MULTILINE)
    assert {f"counterpoint.{name}" for name in counterpoint.__all__} <= set(drawn)
    for name in drawn:
        module, _, attribute = name.rpartition(".")
        assert inspect.getdoc(getattr(importlib.import_module(module), attribute)), name


def test_blank_lines_change_nothing_that_github_shows() -> None:
    """The pages as the site's Markdown needs them are, to a reader by GitHub's rules, the pages."""
    module = hooks()
    for name in PAGES:
        text = EQUATION.sub("equation", (DOCS / name).read_text(encoding="utf-8"))
        assert GITHUB.render(module.as_github(text)).split() == GITHUB.render(text).split(), name


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="make test-all installs the extra docs"
)
class TestBuilt:
    @pytest.fixture(scope="class")
    def site(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        out = tmp_path_factory.mktemp("site")
        result = build(WEBSITE / "mkdocs.yml", out)
        assert result.returncode == 0, result.stderr
        return out

    def test_pages_show_what_github_shows(self, site: Path) -> None:
        for name in PAGES:
            text = EQUATION.sub("", (DOCS / name).read_text(encoding="utf-8"))
            wanted = Elements(f"<article>{GITHUB.render(text)}</article>").count
            page = Elements((site / name).with_suffix(".html").read_text(encoding="utf-8")).count
            differing = {tag: (wanted[tag], page[tag]) for tag in COMPARED if wanted[tag] != page[tag]}
            assert not differing, f"{name}: (GitHub, site) {differing}"

    def test_every_equation_is_drawn(self, site: Path) -> None:
        for name in PAGES:
            written = len(EQUATION.findall((DOCS / name).read_text(encoding="utf-8")))
            page = (site / name).with_suffix(".html").read_text(encoding="utf-8")
            assert (
                page.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">') == written
            ), name
            assert "arithmatex" not in page, name
            assert not re.search(r"<m[a-z]+[^>]*>[^<]*\\", page), (
                f"{name}: a command of LaTeX is left in an equation"
            )

    def test_nothing_is_loaded_from_elsewhere(self, site: Path) -> None:
        for path in site.rglob("*.html"):
            loaded = Elements(path.read_text(encoding="utf-8")).loaded
            assert not [each for each in loaded if re.match(r"(https?:)?//", each)], path
            missing = [
                each
                for each in loaded
                if not each.startswith(("data:", "#"))
                and path.name != "404.html"
                and not (path.parent / each.partition("?")[0]).exists()
            ]
            assert not missing, path
        for path in site.rglob("*.css"):
            assert not re.search(r"url\(.?(https?:)?//", path.read_text(encoding="utf-8")), path

    def test_docstrings_are_the_api_page(self, site: Path) -> None:
        page = (site / "api.html").read_text(encoding="utf-8")
        for name in counterpoint.__all__:
            assert f'id="counterpoint.{name}"' in page
        assert "Train a model on data with one method" in page

    def test_a_broken_link_fails(self, tmp_path: Path) -> None:
        shutil.copytree(WEBSITE, tmp_path / "website")
        shutil.copytree(DOCS, tmp_path / "docs")
        shutil.copy(ROOT / "CONTRIBUTING.md", tmp_path)
        (tmp_path / "src").symlink_to(ROOT / "src")
        with (tmp_path / "docs" / "predict.md").open("a", encoding="utf-8") as page:
            page.write("\n[nowhere](data.md#no-such-heading)\n")
        result = build(tmp_path / "website" / "mkdocs.yml", tmp_path / "site")
        assert result.returncode != 0
        assert "no-such-heading" in result.stderr
