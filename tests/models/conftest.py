"""One process that stands for several."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from counterpoint.models import sharding


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[object]:
    """A mesh of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        yield sharding.mesh_of(torch.device("cpu"))
    finally:
        dist.destroy_process_group()
