"""Trajectories as a task: embeddings measured by recovered features, agreeing answers and rewards from few preferences."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from torch import nn

from counterpoint.data.trajectories.files import load_trajectory_files
from counterpoint.data.trajectories.grid_robot import load_grid_robot
from counterpoint.data.trajectories.robot_arm import load_robot_arm
from counterpoint.data.trajectories.sets import TrajectoryData
from counterpoint.data.trajectories.strokes import load_strokes
from counterpoint.errors import CounterpointError, nearest
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.trajectories import MEASUREMENTS
from counterpoint.models.trajectories.encoder import TrajectoryEncoder
from counterpoint.models.trajectories.folder import FOLDERS
from counterpoint.tasks.options import checked_load

BUNDLED: dict[str, Callable[..., TrajectoryData]] = {
    "gridrobot": load_grid_robot,
    "robot-arm": load_robot_arm,
    "strokes": load_strokes,
}


class TrajectoryTask:
    """Trajectories, with features that a simulated person looks at or with a person's own answers.

    What is measured: ``evaluation.trajectories``.
    """

    kind = "trajectories"
    primary = "similarity_accuracy"
    default_model = "encoder-6"
    lower_is_better = ("feature_error",)
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> TrajectoryData:
        """Build a bundled set, or read files; the options are the loader's, as values or as text."""
        loader = BUNDLED.get(spec)
        if loader is None:
            if not Path(spec).exists() and not re.search(r"[./\\]", spec):
                raise CounterpointError(
                    f"no bundled trajectories '{spec}'; {nearest(spec, BUNDLED)}, or give a path"
                )
            return checked_load(load_trajectory_files, spec, options, f"'{spec}'")
        return checked_load(loader, None, options, f"'{spec}'")

    def load_model(self, spec: str, data: TrajectoryData, seed: int) -> nn.Module:
        """Build ``encoder-<dimension>`` (two hidden layers of 64), or open a folder; its width must fit the data's."""
        match = re.fullmatch(r"encoder(?:-(\d+))?", spec)
        if match and int(match[1] or 6) > 0:
            model = TrajectoryEncoder(data.width, int(match[1] or 6), seed=seed)
            return model.standardised_by(data.train.inputs)
        if not (Path(spec) / "config.json").is_file():
            raise CounterpointError(
                f"no model '{spec}'; expected encoder-<dimension>, such as encoder-6, or a saved model's folder"
            )
        opened = cast(TrajectoryEncoder, FOLDERS.open(Path(spec)))
        if opened.inputs != data.width:
            raise CounterpointError(
                f"the model in {spec} reads {opened.inputs} numbers, a trajectory here has {data.width}; "
                "use the data it was trained on (and the same waypoints=), or start from encoder-6"
            )
        return opened

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write an ordinary folder."""
        FOLDERS.save(model, folder)

    def evaluate(self, model: nn.Module, data: TrajectoryData, split: str, seed: int = 0) -> dict[str, float]:
        """Measure answers, features and rewards; see ``evaluation.trajectories``."""
        return measured(self.measurements, model, data, split, seed)


TASK = TrajectoryTask()
