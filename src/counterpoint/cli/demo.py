"""``counterpoint demo``: three comparisons, of images, ratings and a language model, and one report, in about five minutes on two cores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from counterpoint.cli.shell import command, console, progress, tell


@dataclass(frozen=True)
class Scene:
    """A comparison of the demo: what it shows in a sentence, and what ``api.compare`` is given."""

    name: str
    line: str
    arms: Mapping[str, str]
    arguments: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


VIEWS = {
    "temperature": 0.5,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "batch_size": 64,
    "warmup": 0.0,
    "norm": "none",
    "hidden": 128,
    "dim": 32,
}
SAMPLED = {
    "answers": 5,
    "temperature": 1.0,
    "max_new_tokens": 8,
    "batch_size": 32,
    "lora_rank": 0,
    "learning_rate": 2e-4,
}
HINTED = {**SAMPLED, "information.template": "{information}#{prompt}", "steps": 3, "anneal": 0}

SCENES = (
    Scene(
        "images",
        "Image encoders without labels: two views of every image, or four at once; 20 labels a class to probe",
        {"two views": "multiview", "four at once": "multiview"},
        {
            "data": "mnist5k",
            "data_options": {"labels_per_class": 20},
            "seeds": 5,
            "examples": 10500,
            "baseline": "two views",
        },
        {
            "two views": {**VIEWS, "loss": "mv_infonce", "num_views": 2},
            "four at once": {**VIEWS, "loss": "mv_infonce", "num_views": 4},
        },
    ),
    Scene(
        "films",
        "Film recommendation: LightGCN against noise contrast on the same graph",
        {"lightgcn": "lightgcn", "xsimgcl": "xsimgcl"},
        {"data": "movielens-100k", "seeds": 5, "steps": 600, "baseline": "lightgcn"},
        {
            "lightgcn": {"batch_size": 1024, "learning_rate": 0.01},
            "xsimgcl": {
                "batch_size": 1024,
                "learning_rate": 0.01,
                "noise": 0.1,
                "temperature": 0.2,
                "contrast": 0.05,
            },
        },
    ),
    Scene(
        "letters",
        "A small language model learns to sort seven letters: from reward alone, or also from what it does when it is shown five of them in order",
        {"grpo": "grpo", "pi-distill": "pi-distill"},
        {
            "data": "hinted-sorting?digits=7&size=1000&validation=100&test=200",
            "model": "shuffler",
            "seeds": 3,
            "steps": 40,
            "baseline": "grpo",
        },
        {
            "grpo": {
                **SAMPLED,
                "variant": "bnpo",
                "advantage": "none",
                "minibatches": 3,
                "penalty.weight": 0.0,
            },
            "pi-distill": {**HINTED, "objective": "pi-distill", "alpha": 0.0},
        },
    ),
)


@command
def demo(
    out: Annotated[Path, typer.Option(help="folder for the comparisons and the report")] = Path("demo"),
) -> None:
    """Run three comparisons, of images, ratings and a language model, and draw them on one page. The same command resumes."""
    from counterpoint import api
    from counterpoint.cli.tables import study_table

    finished = []
    for scene in SCENES:
        folder = out / scene.name
        tell(f"\n{scene.line}")
        with progress() as shown:
            summary = api.compare(
                scene.arms,
                out=folder,
                settings=scene.settings,
                progress=shown,
                jobs=min(2, os.cpu_count() or 1),
                **scene.arguments,
            )
        finished.append((folder, summary))
    screen = console()
    for folder, summary in finished:
        screen.print()
        study_table(screen, summary, folder)
    page = api.report(*(folder for folder, _ in finished), to=out / "report.html")
    screen.print(f"\n{page}", soft_wrap=True)
