"""The README: its tables are the catalog's, it stays short, and everything it prints runs (on small data, a few steps)."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import beir_folder
import counterpoint
from counterpoint.methods.catalog import markdown, markdown_short, refreshed
from interaction_clusters import write_clusters
from own_clips import folder as clips
from texts_made_up import rows, write_csv

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.S)
    for line in block.splitlines()
    if not line.startswith("make ")
]
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
SMALLER = {
    "smollm2-135m-instruct": "characters",
    "minilm-l6": "transformer",
    "--seeds 3 --steps 150": "--seeds 2 --steps 2",
    "--epochs 100": "--steps 2",
    "unisd_star": "unisd_star --max-new-tokens 8",
    "tokens 64": "tokens 4 --batch-size 4",
}
SHORT = {"run": ("--steps", "2"), "compare": ("--steps", "2", "--seeds", "1")}


@pytest.mark.parametrize(
    ("page", "table"), [("README.md", markdown_short()), ("docs/methods/index.md", markdown())]
)
def test_tables_are_the_catalogs(page: str, table: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert refreshed(text, table) == text, "run: python -m counterpoint.methods.catalog ."


def test_it_stays_short() -> None:
    assert len(TEXT.encode()) <= 8 * 1024
    assert (ROOT / "docs/pictures/report.png").stat().st_size < 150_000


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file the README names."""
    image, _ = pytest.importorskip("PIL.Image"), pytest.importorskip("soundfile")
    here = tmp_path_factory.mktemp("readme")
    draw = np.random.default_rng(0)
    for number in range(400):
        path = here / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    ratings = write_clusters(here / "ratings.tsv", "user\titem\trating\ttime", users=40)
    ratings.write_text(ratings.read_text().replace("u7\t", "42\t"))
    problems = [{"prompt": f"{n}+1=", "completion": f"{n + 1}", "answer": f"{n + 1}"} for n in range(24)]
    pairs = [{"prompt": f"{n}+1=", "chosen": f"{n + 1}", "rejected": f"{n}"} for n in range(24)]
    questions = [{"anchor": f"what is {n}", "positive": f"it is the number {n}"} for n in range(120)]
    for name, table in (("problems", problems), ("preferences", pairs), ("questions", questions)):
        (here / f"{name}.jsonl").write_text("\n".join(map(json.dumps, table)))
    seen = [
        {"image": f"photos/cat/{n}.png", "caption": f"no {n}", "negatives": f"{n} no"}
        for n in range(0, 80, 2)
    ]
    (here / "captioned.jsonl").write_text("\n".join(map(json.dumps, seen)))
    write_csv(here / "mails.csv", rows(120))
    clips(here / "clips", each=4)
    beir_folder.write(here / "food")
    lines = [
        f"{n},{n % 6 + 1},{('north', 'south')[n % 2]},{50 * (n % 6) + 30 * (n % 2) + 100}" for n in range(80)
    ]
    (here / "houses.csv").write_text("\n".join(["id,rooms,quarter,price", *lines]))
    return here


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_run_as_printed(line: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the README's order: a later command reads what an earlier one wrote."""
    from counterpoint.cli.main import app

    monkeypatch.chdir(files)
    for long, short in SMALLER.items():
        line = line.replace(long, short)
    program, command, *given = shlex.split(line)
    assert program == "counterpoint"
    if "--steps" not in given:
        given += SHORT.get(command, ())
    done = CliRunner().invoke(app, [command, *given])
    assert done.exit_code == 0, (line, done.output, done.exception)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets_run_as_printed(number: int, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    run = counterpoint.run

    def shorter(*given: object, **options: object) -> object:
        return run(*given, **{**options, "steps": 2})  # type: ignore[arg-type]

    monkeypatch.setattr(counterpoint, "run", shorter)
    exec(compile(SNIPPETS[number].replace("smollm2-135m-instruct", "characters"), "README.md", "exec"), {})


def test_every_kind_of_data_has_a_command_and_most_a_snippet() -> None:
    from counterpoint.methods.catalog import ready

    keys = {word for line in COMMANDS for word in line.split()}
    assert {row.kind for row in ready().values()} == {row.kind for key, row in ready().items() if key in keys}
    assert len(SNIPPETS) >= 6
