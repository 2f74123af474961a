"""Retrieval: BEIR folders, causal language models as encoders, measured by what they rank first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.data.retrieval import sets
from counterpoint.data.retrieval.load import Retrieval, load_retrieval
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.retrieval import MEASUREMENTS
from counterpoint.models.language.characters import tiny
from counterpoint.models.retrieval.embedder import Embedder, Shown, load
from counterpoint.models.retrieval.folder import FOLDERS
from counterpoint.tasks.facts import Facts
from counterpoint.tasks.options import checked_load


class RetrievalTask:
    """The kind "retrieval": see ``data.retrieval.load_retrieval`` for the options of ``load_data``."""

    kind = "retrieval"
    primary = "ndcg@10"
    default_model = "smollm2-135m-instruct"
    lower_is_better = ("uniformity",)
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> Retrieval:
        """Load a bundled name or a folder; options as values or as text."""
        own = spec in sets.BUNDLED and not Path(spec).exists()
        return checked_load(sets.load if own else load_retrieval, spec, options, spec if own else "retrieval")

    def facts(self, data: Retrieval) -> Facts:
        """What advice on methods may rest on."""
        return Facts(self.kind, len(data.train.queries))

    def load_model(self, spec: str, data: Retrieval, seed: int) -> nn.Module:
        """A bundled causal language model, its folder, or an encoder's; "characters" is a small untrained one."""
        if spec == "characters":
            return Embedder(tiny(seed=seed), Shown(template="{text}"))
        return load(spec)

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write an ordinary folder, which sentence-transformers opens as well."""
        FOLDERS.save(model, folder)

    def evaluate(self, model: nn.Module, data: Retrieval, split: str, seed: int = 0) -> dict[str, float]:
        """Rank the whole corpus for every query of the split; see ``evaluation.retrieval``."""
        return measured(self.measurements, model, data, split, seed)


TASK = RetrievalTask()
