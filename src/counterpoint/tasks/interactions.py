"""Interactions as a task: files of `user item [rating] [time]`, graph recommenders, full-ranking evaluation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.data.interactions.load import Interactions, load_interactions
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.recommendation import MEASUREMENTS
from counterpoint.models.interactions.folder import FOLDERS
from counterpoint.models.interactions.recommender import Recommender, load_recommender
from counterpoint.tasks.facts import Facts, rows_of
from counterpoint.tasks.options import checked_load


class InteractionsTask:
    """Who met what: recommendation from positives."""

    kind = "interactions"
    primary = "ndcg@20"
    default_model = "embeddings-64"
    lower_is_better = ("uniformity", "popularity@20")
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> Interactions:
        """Load a bundled name, a file or a folder of splits; options are those of ``load_interactions``, as values
        or as text.

        Raises:
            CounterpointError: the data cannot be used, or an option is unknown (with the nearest name).
        """
        return checked_load(load_interactions, spec, options, "interactions")

    def facts(self, data: Interactions) -> Facts:
        """What advice on methods may rest on."""
        rows, cells = rows_of(data.train), len(data.users) * len(data.items)
        return Facts(self.kind, rows, density=rows / cells if cells else None)

    def load_model(self, spec: str, data: Interactions, seed: int) -> nn.Module:
        """Build ``embeddings-<dimension>`` over the data's users and items, or carry a saved recommender over to them."""
        match = re.fullmatch(r"(?:default|embeddings(?:-(\d+))?)", spec)
        if match:
            dimension = int(match[1] or 64)
            if dimension < 1:
                raise CounterpointError(
                    f"model '{spec}': expected a dimension of at least 1, such as embeddings-64"
                )
            return Recommender.for_data(data, dimension=dimension, seed=seed)
        if not Path(spec).exists() and "/" not in spec:
            raise CounterpointError(
                f"no model '{spec}' for interactions; expected embeddings-<dimension>, such as embeddings-64, or a saved folder"
            )
        return load_recommender(spec).fitted_to(data, seed=seed)

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write safetensors, config.json and the ids."""
        FOLDERS.save(model, folder)

    def evaluate(self, model: nn.Module, data: Interactions, split: str, seed: int = 0) -> dict[str, float]:
        """Rank the split's held-out pairs; see ``evaluation.recommendation``."""
        return measured(self.measurements, model, data, split, seed)


TASK = InteractionsTask()
