"""A tracker that refuses to start is told in one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.training.launch import begin_trackers


def test_a_tracker_that_refuses_is_one_line() -> None:
    def refuse(project: str, config: dict[str, Any]) -> None:
        raise OSError(f"no store\nfor {project} of seed {config['seed']}")

    accelerator: Any = SimpleNamespace(init_trackers=refuse)
    with pytest.raises(
        CounterpointError,
        match="--tracker mlflow could not be started: OSError: no store for counterpoint of seed 3",
    ):
        begin_trackers(accelerator, ["mlflow"], {"seed": 3})
