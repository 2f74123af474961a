"""Trajectory encoders as folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.folders import Folders
from counterpoint.models.trajectories.encoder import TrajectoryEncoder


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    return "TrajectoryEncoder" if {"inputs", "dimension", "end_to_end"} <= set(content) else ""


FOLDERS = Folders(
    kind="trajectories",
    openers={"TrajectoryEncoder": TrajectoryEncoder.from_pretrained},
    unstated=_unstated,
)
