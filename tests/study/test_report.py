"""The report: one file that loads nothing, honest about zero, drawn without a console error at both widths."""

import itertools
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from toy_methods import Logistic, Nothing

from counterpoint.errors import CounterpointError
from counterpoint.study.compare import compare
from counterpoint.study.plan import Entry, Plan
from counterpoint.study.report import plots
from counterpoint.study.report.page import write_report
from counterpoint.study.single import execute
from counterpoint.study.wording import sentence

VOID = {"meta", "link", "br", "input", "img"}


class Balanced(HTMLParser):
    """Raises when a tag is closed that was not opened last."""

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    from counterpoint.study.recipe import recipe_of
    from counterpoint.tasks import task

    task._modules["toy"] = "toy_task"
    folder = tmp_path_factory.mktemp("report") / "study"

    def arm(name, method, **rest):
        recipe = recipe_of(method, "toy", data="points", model="linear", budget={"steps": 12})
        return Entry(name=name, recipe=recipe, **rest)

    entries = [
        arm("<i>learns", Logistic(), tune={"learning_rate": (0.01, 1.0)}, title="a & b"),
        arm("the-same", Logistic()),
        arm("nothing", Nothing(), baseline=True),
    ]
    compare(Plan(what="compare", entries=entries, seeds=4, trials=3), folder)
    del task._modules["toy"]
    return folder


def test_the_page_is_well_formed_and_loads_nothing(study, tmp_path):
    page = write_report([study], tmp_path / "page.html").read_text()
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert [link for link in parser.links if not link.startswith(("#", "data:"))] == []
    assert not re.search(r"https?://|@import|url\(|<script", page)
    assert "<i>" not in page
    assert "&lt;i&gt;learns" in page


def test_every_seed_is_a_dot_and_every_figure_is_the_runs(study, tmp_path):
    page = write_report([study], tmp_path / "page.html").read_text()
    for seed in range(4):
        assert page.count(f"<title>nothing, seed {seed}: ") == 2  # one drawing for each width
    import json

    run = json.loads((study / "runs" / "nothing" / "seed-2" / "result.json").read_text())
    assert f"nothing, seed 2: {run['metrics']['test']['accuracy']:.4f}" in page


def test_an_interval_with_zero_is_called_not_shown():
    values = [0.01, -0.02, 0.015]
    difference = {"n": 3, "mean": 0.0017, "low": -0.04, "high": 0.05, "verdict": "unclear", "values": values}
    said = sentence("a", "b", difference)
    assert "no difference is shown" in said
    assert "better in 2 of 3 seeds" in said
    assert "is better than" not in said
    firm = {**difference, "n": 5, "low": 0.001, "verdict": "above", "p_holm": 0.2}
    assert "it could be chance" in sentence("a", "b", firm)
    assert "is worse than" in sentence("a", "b", {**firm, "p_holm": 0.01}, lower_is_better=True)
    assert "cannot say how sure" in sentence("a", "b", {**difference, "n": 1, "low": None, "high": None})


def test_runs_and_studies_share_a_page_and_unfinished_ones_are_refused(study, recipe, tmp_path):
    run = execute(recipe(before=True), tmp_path / "run", progress=False).folder
    page = write_report([study, run], tmp_path / "page.html").read_text()
    assert page.count('<section class="study"') == 2
    assert 'href="#s1"' in page
    (tmp_path / "empty").mkdir()
    with pytest.raises(CounterpointError, match="neither a run nor a study"):
        write_report([tmp_path / "empty"])
    (run / "result.json").unlink()
    with pytest.raises(CounterpointError, match="not finished"):
        write_report([run])


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-3e-5, 2e-5), (0.9312, 0.9388), (-120.0, 4000.0), (5.0, 5.0)]
)
def test_ticks_are_round_and_inside(low, high):
    found = plots.ticks(low, high)
    assert 1 <= len(found) <= 12
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("low", [0.0, 0.83, -0.0007, 137.7, -41_000.0])
@pytest.mark.parametrize("span", [3e-7, 2e-5, 0.004, 0.7, 90.0])
def test_labels_of_an_axis_differ_and_are_its_marks(low, span):
    marks = plots.ticks(low, low + span, 4)
    texts = plots.tick_labels(marks)
    assert len(set(texts)) == len(marks)
    step = min((b - a for a, b in itertools.pairwise(marks)), default=0.0)
    for mark, text in zip(marks, texts, strict=True):
        written = float(text.replace("−", "-").replace(",", ""))
        assert abs(written - mark) <= (0.01 * step or 1e-3 * abs(mark))


@pytest.mark.parametrize(
    "losses", [(0.831, 0.829, 0.8302), (0.83, 0.83 + 1e-9, 0.83), (2.0, 2.0, 2.0), (1e-7, 3e-7)]
)
def test_a_curve_in_a_narrow_range_repeats_no_label_and_cuts_none(losses):
    drawing = plots.curve(plots.Series("a", "red", [*enumerate(losses, 1)]), title="loss")
    found = re.findall(r'class="tick" x="([\d.]+)" y="[\d.]+" text-anchor="(end|middle)">([^<]+)<', drawing)
    for anchor in ("end", "middle"):
        texts = [text for _, side, text in found if side == anchor and text != "step"]
        assert texts
        assert len(set(texts)) == len(texts)
    assert all(float(x) >= 6.8 * len(text) for x, side, text in found if side == "end")


def test_a_plot_of_one_seed_and_of_equal_figures_is_drawn():
    one = plots.rows([plots.Row("a", 0.5, None, None, [("seed 0", 0.5)], "red")], title="one")
    equal = plots.rows(
        [plots.Row("a", 0.0, 0.0, 0.0, [("s", 0.0), ("t", 0.0)], "red")], zero=True, title="equal"
    )
    for drawing in (one, equal):
        assert "nan" not in drawing
        assert drawing.count("<svg") == 2


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [1280, pytest.param(390, marks=pytest.mark.slow)])
def test_a_browser_draws_it_without_a_console_error(study, tmp_path, width):
    page = write_report([study], tmp_path / "page.html")
    picture = tmp_path / "page.png"
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
        f"--window-size={width},2400", f"--screenshot={picture}", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert picture.stat().st_size > 20_000
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


def test_a_table_with_a_row_a_step_is_drawn_as_curves(tmp_path) -> None:
    from counterpoint.study.report.run import _reported
    from counterpoint.study.store import REPORTED
    from counterpoint.training.report import Report

    report = Report()
    report.add(mass=[{"step": n, "best": 0.1 * n, "elsewhere": 1 - 0.1 * n} for n in range(3)])
    report.add(other=[{"step": 1, "text": "a"}, {"step": 2, "text": "b"}])
    report.write(tmp_path / REPORTED)
    page = "".join(_reported(tmp_path))
    assert "Mass by step" in page
    assert page.count("<svg") == 2
    assert "Other by step" not in page


def test_labels_of_a_cloud_stand_beside_their_means_and_never_on_one_another():
    """Equal heights far apart push nobody down; means that lie together do."""
    far = [
        plots.Series(name, "red", [(at, 0.5)]) for name, at in (("sft", 0.0), ("sdft", 5.0), ("rltf", 10.0))
    ]
    near = [plots.Series(name, "red", [(10.0, 0.5)]) for name in ("one", "two")]
    drawn = plots.scatter([*far, *near], x_label="s", y_label="accuracy", title="t").split("</svg>")[0]
    at = {
        name: (float(x), float(y))
        for x, y, name in re.findall(
            r'<text class="label" x="([\d.]+)" y="([\d.]+)"[^>]*>(\w+)</text>', drawn
        )
    }
    assert at["sft"][1] == at["sdft"][1] == at["rltf"][1]
    heights = sorted(at[name][1] for name in ("rltf", "one", "two"))
    assert all(below - above >= 15 for above, below in itertools.pairwise(heights))
