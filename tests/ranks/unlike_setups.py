"""Two processes that do not fit: with other versions, with folders of their own, with a folder that another run holds. Each writes
down what it was told, before the two have formed a group and after it.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from counterpoint.errors import CounterpointError
from counterpoint.training import Run, distributed, launch


def refusal(call: Callable[[Path], object], folder: Path) -> str:
    try:
        call(folder)
    except CounterpointError as error:
        return str(error)
    return ""


def begin(folder: Path) -> None:
    Run(folder, progress=False).close()


def lines(call: Callable[[Path], object], out: Path, rank: int) -> dict[str, str]:
    found = {"apart": refusal(call, out / f"apart-{rank}"), "together": refusal(call, out / "together")}
    own = launch.versions
    if rank == 1:
        launch.versions = lambda: own() | {"torch": "2.12.0"}
    found["versions"] = refusal(call, out / "together")
    launch.versions = own
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    said = {"before": lines(launch.agree, out / "before", rank)}
    assert distributed.world()[1] == 1
    said["after"] = lines(begin, out / "after", rank)
    assert distributed.world()[1] == 2
    if rank == 0:
        held = out / "after" / "together" / ".lock"
        another = held.open("w")
        fcntl.flock(another, fcntl.LOCK_EX)
    said["after"]["held"] = refusal(begin, out / "after" / "together")
    (out / f"{rank}.json").write_text(json.dumps(said))
