"""Two processes that do not fit: with other versions, and with folders of their own. Each writes down what it was told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from counterpoint.errors import CounterpointError
from counterpoint.training import Run, launch


def told(folder: Path) -> str:
    try:
        Run(folder, progress=False).close()
    except CounterpointError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    said = {"apart": told(out / f"apart-{rank}"), "together": told(out / "together")}
    if rank == 1:
        own = launch.versions()
        launch.versions = lambda: own | {"torch": "2.12.0"}
    said["versions"] = told(out / "together")
    (out / f"{rank}.json").write_text(json.dumps(said))
