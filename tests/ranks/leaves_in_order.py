"""Two processes train, then end in the worst moment: a collective finishes while the interpreter is about to shut down."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import time
from pathlib import Path

# Registered first, so it runs last: it holds the interpreter's lock until the interpreter shuts down.
atexit.register(sum, range(20_000_000))


def threads() -> list[str]:
    """Names of the group's threads."""
    names = (
        Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")
    )
    return [name for name in names if "gloo" in name]


if __name__ == "__main__":
    import torch
    import torch.distributed as dist

    from ranks_harness import short_run

    out = Path(sys.argv[1])
    rank = int(os.environ["RANK"])
    atexit.register(lambda: (out / f"left-{rank}").write_text("\n".join(threads())))
    with short_run(out / "run", steps=1):
        pass
    importlib.import_module("torch.distributed.nn.functional")
    (out / f"had-{rank}").write_text("\n".join(threads()))
    rows = torch.ones(3)
    if rank:
        rows.mark = True  # a tensor with a Python side, whose last reference is the group's
        dist.all_reduce(rows, async_op=True)
        del rows
    else:
        time.sleep(0.2)
        dist.all_reduce(rows)
