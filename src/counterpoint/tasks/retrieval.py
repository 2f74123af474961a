"""Retrieval: BEIR folders, causal or masked language models as encoders, measured by what they rank first."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.data.retrieval import sets
from counterpoint.data.retrieval.load import Retrieval, load_retrieval
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.retrieval import MEASUREMENTS
from counterpoint.models.language.characters import tiny
from counterpoint.models.retrieval import embedder, sparse
from counterpoint.models.retrieval.embedder import Embedder, Shown
from counterpoint.models.retrieval.folder import FOLDERS
from counterpoint.tasks.facts import Facts
from counterpoint.tasks.options import checked_load

WORDS = "sparse-words"
MOST_WORDS = 5000
"""Vocabulary of an untrained sparse encoder, the most frequent words."""


class RetrievalTask:
    """The kind "retrieval": see ``data.retrieval.load_retrieval`` for the options of ``load_data``."""

    kind = "retrieval"
    primary = "ndcg@10"
    default_model = "smollm2-135m-instruct"
    lower_is_better = ("uniformity", "nonzeros", "flops")
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> Retrieval:
        """Load a bundled name or a folder; options as values or as text."""
        own = spec in sets.BUNDLED and not Path(spec).exists()
        return checked_load(sets.load if own else load_retrieval, spec, options, spec if own else "retrieval")

    def facts(self, data: Retrieval) -> Facts:
        """What advice on methods may rest on."""
        return Facts(self.kind, len(data.train.queries))

    def load_model(self, spec: str, data: Retrieval, seed: int) -> nn.Module:
        """A causal language model's folder or bundled name as a dense encoder, a masked one's as a sparse one, or an encoder's folder.

        "characters" and "sparse-words" are small untrained ones, the latter over the words of the data.
        """
        if spec == "characters":
            return Embedder(tiny(seed=seed), Shown(template="{text}"))
        if spec == WORDS:
            return sparse.fresh(_words(data), seed=seed)
        return sparse.load(spec) if sparse.is_masked(spec) else embedder.load(spec)

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write an ordinary folder, which sentence-transformers opens as well."""
        FOLDERS.save(model, folder)

    def evaluate(self, model: nn.Module, data: Retrieval, split: str, seed: int = 0) -> dict[str, float]:
        """Rank the whole corpus for every query of the split; see ``evaluation.retrieval``."""
        return measured(self.measurements, model, data, split, seed)


def _words(data: Retrieval) -> list[str]:
    texts = (*data.documents, *data.queries, *(text for each in data.history for text in each))
    counts = Counter(word for text in texts for word in re.findall(r"[^\W_]+", text.lower()))
    return [word for word, _ in counts.most_common(MOST_WORDS)]


TASK = RetrievalTask()
