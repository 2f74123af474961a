"""``counterpoint demo``: two comparisons on real data and one report, in about five minutes on two cores."""

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


SCENES = (
    Scene(
        "images",
        "Image encoders without labels: InfoNCE, its decoupled form, and several views at once; five labels per class to probe",
        {"simclr": "simclr", "dcl": "dcl", "multiview": "multiview"},
        {
            "data": "mnist5k",
            "data_options": {"labels_per_class": 5},
            "seeds": 5,
            "examples": 20000,
            "baseline": "simclr",
        },
        {name: {"temperature": 0.5, "learning_rate": 0.3} for name in ("simclr", "dcl", "multiview")},
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
)


@command
def demo(
    out: Annotated[Path, typer.Option(help="folder for both comparisons and the report")] = Path("demo"),
) -> None:
    """Run two comparisons on real data and draw them on one page. The same command resumes."""
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
