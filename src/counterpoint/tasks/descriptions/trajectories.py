"""Trajectories: a table of them by id, with a person's answers beside it."""

from __future__ import annotations

from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FileSample, FolderSample


def folder(look: FolderSample) -> bool:
    """Whether there is a file called trajectories."""
    return any(file.name.stem == "trajectories" for file in look.files)


def file(look: FileSample) -> bool:
    """Whether a table holds states by id."""
    return look.has("id", "states")


DESCRIPTION = Description(
    kind="trajectories",
    looks="a folder with a file called trajectories; a table with `id` and `states`",
    loaders={
        "": "counterpoint.data.trajectories.files:load_trajectory_files",
        "gridrobot": "counterpoint.data.trajectories.grid_robot:load_grid_robot",
        "robot-arm": "counterpoint.data.trajectories.robot_arm:load_robot_arm",
    },
    bundled={
        "gridrobot": "490 walks over a 5x5 grid past three objects, 12 of 31 raw numbers are noise",
        "robot-arm": "600 paths of a seven-joint arm near a laptop and a person, 97 raw numbers a state",
        "strokes": "1,797 scanned digits judged by how the stroke looks (ink, slant, breadth)",
    },
    file=file,
    folder=folder,
)
