"""Trajectories as a task: embeddings measured by recovered features, agreeing answers and rewards from few preferences."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.data.trajectories.files import load_trajectory_files
from counterpoint.data.trajectories.grid_robot import load_grid_robot
from counterpoint.data.trajectories.robot_arm import load_robot_arm
from counterpoint.data.trajectories.sets import TrajectoryData
from counterpoint.data.trajectories.strokes import load_strokes
from counterpoint.errors import CounterpointError, nearest
from counterpoint.evaluation.reward import (
    feature_error,
    frozen_scores,
    network_scores,
    ordered_share,
    similarity_accuracy,
)
from counterpoint.judges.simulated import most_alike, preferred, tastes
from counterpoint.models.trajectory import TrajectoryEncoder
from counterpoint.pairs.queries import random_groups
from counterpoint.tasks.options import checked_load

BUNDLED: dict[str, Callable[..., TrajectoryData]] = {
    "gridrobot": load_grid_robot,
    "robot-arm": load_robot_arm,
    "strokes": load_strokes,
}
PEOPLE, PREFERENCES, QUERIES = 50, 30, 500
RIDGES, STEPS, RATES = (0.1, 1.0, 10.0), (50, 150, 400), (3e-4, 1e-3, 3e-3)


class TrajectoryTask:
    """Trajectories, with features that a simulated person looks at or with a person's own answers.

    ``similarity_accuracy``: held-out answers whose pair is also the nearest in the embedding. With features known:
    ``feature_error`` (linear recovery, 1.0 is the mean's) and ``preference_accuracy`` (held-out pairs ordered as each of 50
    unseen people orders them, the reward learnt from 30 preferences; its penalty, or end to end its learning rate and
    number of steps, are chosen on validation).
    """

    kind = "trajectories"
    primary = "similarity_accuracy"
    default_model = "encoder-6"
    lower_is_better = ("feature_error",)

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
        model = TrajectoryEncoder.from_pretrained(spec)
        if model.inputs != data.width:
            raise CounterpointError(
                f"the model in {spec} reads {model.inputs} numbers, a trajectory here has {data.width}; "
                "use the data it was trained on (and the same waypoints=), or start from encoder-6"
            )
        return model

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write an ordinary folder."""
        model.save_pretrained(folder)  # type: ignore[operator]

    def evaluate(self, model: nn.Module, data: TrajectoryData, split: str, seed: int = 0) -> dict[str, float]:
        """Measure on "validation" or "test"; see the class."""
        if split not in ("validation", "test"):
            raise CounterpointError(f"split='{split}'; expected 'validation' or 'test'")
        assert isinstance(model, TrajectoryEncoder)
        parts = data.splits()
        with torch.no_grad():
            z = {name: model(part.inputs) for name, part in parts.items()}
        part, result = parts[split], {}
        answers = part.answers
        if not len(answers) and part.features is not None:
            draws = torch.Generator().manual_seed(seed + 17)
            groups = random_groups(len(part), QUERIES, 3, draws)
            answers = groups.gather(1, most_alike(part.features[groups]))
        if len(answers):
            result["similarity_accuracy"] = similarity_accuracy(z[split], answers)
        else:
            result["similarity_accuracy"] = float("nan")
        if len(part.preferences) and bool(model.reward.any()):
            won, lost = (z[split][rows] @ model.reward for rows in part.preferences.T)
            result["own_preference_accuracy"] = float((won > lost).double().mean())
        if data.train.features is not None and part.features is not None:
            result["feature_error"] = feature_error(z["train"], data.train.features, z[split], part.features)
            result["preference_accuracy"] = self._rewards(model, data, z, split, seed)
        return result

    def _rewards(
        self, model: TrajectoryEncoder, data: TrajectoryData, z: dict[str, Tensor], split: str, seed: int
    ) -> float:
        draws = torch.Generator().manual_seed(seed + 29)
        parts = data.splits()
        features = {name: part.features for name, part in parts.items() if part.features is not None}
        people = tastes(PEOPLE, features["train"].shape[1], draws)
        truth = {name: people @ rows.T for name, rows in features.items()}
        queried = random_groups(len(parts["train"]), PEOPLE * PREFERENCES, 2, draws).view(
            PEOPLE, PREFERENCES, 2
        )
        first, second = (truth["train"].gather(1, rows) for rows in queried.unbind(-1))
        won = preferred(first, second)
        chosen, rejected = (torch.where(w, queried[..., 0], queried[..., 1]) for w in (won, ~won))
        # The learner sees one table of rows: the training split first, then validation and test.
        names = list(parts)
        starts = dict(zip(names, [0, len(parts["train"]), len(parts["train"]) + len(parts["validation"])]))
        rows = {name: torch.arange(len(part)) + starts[name] for name, part in parts.items()}
        embedded = torch.cat([z[name] for name in names])
        raw = model.scaled(torch.cat([parts[name].inputs for name in names]))
        layers = [(layer.weight, layer.bias) for layer in model.network if isinstance(layer, nn.Linear)]

        if model.end_to_end:
            tried = [
                scores
                for rate in RATES
                for scores in network_scores(layers, raw, chosen, rejected, STEPS, learning_rate=rate)
            ]
        else:
            tried = frozen_scores(embedded, chosen, rejected, RIDGES)
        marks = [ordered_share(scores[:, rows["validation"]], truth["validation"]) for scores in tried]
        best = tried[max(range(len(tried)), key=marks.__getitem__)]
        return ordered_share(best[:, rows[split]], truth[split])


TASK = TrajectoryTask()
