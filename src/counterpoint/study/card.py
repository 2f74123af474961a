"""The model card: README.md of a model folder, written from what the run recorded and nothing else."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError
from counterpoint.methods import catalog
from counterpoint.methods.base import Method
from counterpoint.study import front
from counterpoint.study.recipe import GIVEN, Recipe

if TYPE_CHECKING:
    from counterpoint.study.store import Result
    from counterpoint.tasks.task import Task

READERS = {"tokenizer_config.json": "AutoTokenizer", "preprocessor_config.json": "AutoImageProcessor"}
"""Files beside a transformers model, and the class that opens each."""

READERS_ARE = {"AutoTokenizer": "tokenizer", "AutoImageProcessor": "processor"}


def text(recipe: Recipe, result: Result, method: Method[Any, Any], task: Task) -> str:
    """The card's Markdown, with the front matter that model hubs read."""
    summary = (
        catalog.row(recipe.key).title
        if recipe.key in catalog.rows()
        else (type(method).__doc__ or recipe.key).strip().split("\n\n")[0]
    )
    parts = [
        front.front_matter(recipe, result.folder / "model"),
        f"# {recipe.key}\n\n{' '.join(summary.split())}\n",
        "## How it was trained\n",
        _table(
            ("", ""),
            [
                ("method", f"`{recipe.key}`"),
                (
                    "started from",
                    "a model handed over in Python" if recipe.model == GIVEN else f"`{recipe.model}`",
                ),
                *((("trained", trained),) if (trained := front.changed_weights(recipe, method)) else ()),
                ("data", "handed over in Python" if recipe.data == GIVEN else f"`{recipe.data}`"),
                ("data fingerprint", f"`{result.data['fingerprint'][:16]}`"),
                ("seed", str(recipe.seed)),
                (
                    "budget",
                    ", ".join(f"{v:,.10g} {k}" for k, v in recipe.budget.items())
                    or "the method's own epochs",
                ),
                ("spent", ", ".join(f"{v:,.0f} {k}" for k, v in result.spent.items() if k != "seconds")),
                ("precision", {"no": "fp32"}.get(recipe.precision, recipe.precision)),
            ],
        ),
        "The data, as understood:\n\n" + "\n".join(f"- {line}" for line in result.data["describe"]) + "\n",
        "## Settings that differ from the defaults\n",
        _table(
            ("setting", "default", "here"),
            [(f"`{k}`", json.dumps(a), json.dumps(b)) for k, (a, b) in result.changed.items()],
        )
        if result.changed
        else "None.\n",
        *_results(result),
        "## Cost\n",
        f"{result.cost.get('wall_seconds', 0):.1f} s of wall time, {result.cost.get('cpu_seconds', 0):.1f} s of CPU time, "
        f"{result.cost.get('peak_rss_bytes', 0) / 2**20:.0f} MiB of memory at the peak.\n",
        "## Use\n",
        usage(task, result.folder / "model", recipe),
    ]
    return "\n".join(parts)


def usage(task: Task, folder: Path, recipe: Recipe) -> str:
    """Markdown on how the model is used: three lines of Python and a command that predict, and where the folder is whole for
    transformers, its own way."""
    from counterpoint.models.model_folders import STATEMENT, configuration
    from counterpoint.prediction.predict import open_model, predictor_of
    from counterpoint.prediction.predictor import Settings

    content = configuration(folder)
    try:
        made = predictor_of(open_model(folder), folder, Settings())
    except CounterpointError:  # a class of the person's own
        options = "".join(f", {name}={value!r}" for name, value in recipe.data_options.items())
        data = "DATA" if recipe.data == GIVEN else recipe.data
        lines = ["from counterpoint.tasks.task import task", "", f'kind = task("{task.kind}")']
        lines += [f"data = kind.load_data({json.dumps(data)}{options})"]
        return _code("python", *lines, f"model = kind.load_model({_quoted(folder)}, data, seed=0)")
    parts = [
        _code(
            "python",
            "import counterpoint",
            "",
            f"model = counterpoint.load({_quoted(folder)})",
            f"{made.what.split()[0]} = model.predict({made.example})",
        ),
        "On the command line, for a file or a folder of any size:\n",
        _code(
            "bash",
            f"counterpoint predict {shlex.quote(str(folder))} --data DATA --out {made.what.split()[0]}.jsonl",
        ),
    ]
    if (folder / "modules.json").exists():
        lines = ["from sentence_transformers import SentenceTransformer", ""]
        lines += [
            f"model = SentenceTransformer({_quoted(folder)})",
            f"vectors = model.encode({made.example})",
        ]
        parts += ["It opens in sentence-transformers, too:\n", _code("python", *lines)]
    named = content.get("architectures")
    if named and STATEMENT not in content:
        readers = [name for file, name in READERS.items() if (folder / file).exists()]
        lines = [f"from transformers import {', '.join(sorted([named[0], *readers]))}", ""]
        lines += [f"folder = {_quoted(folder)}", f"model = {named[0]}.from_pretrained(folder)"]
        lines += [f"{READERS_ARE[name]} = {name}.from_pretrained(folder)" for name in readers]
        parts += ["The folder is transformers' own, too:\n", _code("python", *lines)]
    return "\n".join(parts)


def _quoted(path: Path) -> str:
    """A path as Python reads it, whatever characters it has."""
    return json.dumps(str(path), ensure_ascii=False)


def _code(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```", ""])


def _results(result: Result) -> list[str]:
    if not result.metrics:
        return ["## Results\n", "Not measured.\n"]
    rows = []
    for split, figures in result.metrics.items():
        start = result.before.get(split, {})
        for name in (*figures, *(other for other in start if other not in figures)):
            cells = (f"{part[name]:.4f}" if name in part else "" for part in (start, figures))
            rows.append((split, name, *cells))
    return ["## Results\n", _table(("split", "metric", "before", "after"), rows)]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"
