"""Pairs of sentences: encoders measured by how well they find a positive, or by how well their cosines follow scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.bundled import registry
from counterpoint.data.sentence_pairs.items import SentencePairs
from counterpoint.data.sentence_pairs.load import load_sentence_pairs
from counterpoint.errors import CounterpointError, nearest
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.sentence_pairs.measurements import MEASUREMENTS
from counterpoint.models.sentence_pairs.encoder import SentenceEncoder, open_sentence_encoder
from counterpoint.models.sentence_pairs.folder import FOLDERS
from counterpoint.models.text.transformer import fresh_transformer
from counterpoint.models.text.words import vocabulary
from counterpoint.tasks.facts import Facts
from counterpoint.tasks.options import checked_load

FRESH = "transformer"


class SentencePairsTask:
    """The kind "sentence-pairs": see ``data.sentence_pairs.load_sentence_pairs`` for the options of ``load_data``."""

    kind = "sentence-pairs"
    primary = "ndcg@10"
    otherwise = ("spearman",)
    lower_is_better = ("uniformity",)
    default_model = "minilm-l6"
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> SentencePairs:
        """Load and split a table or a folder; options as values or as text."""
        return checked_load(load_sentence_pairs, spec, options, "sentence-pairs")

    def facts(self, data: SentencePairs) -> Facts:
        """What advice on methods may rest on."""
        return Facts(self.kind, len(data.train), scored=data.scored, negatives=data.num_negatives)

    def reading(self, data: SentencePairs) -> dict[str, Any]:
        """Nothing but the kind: texts are read as they stand."""
        return {"kind": self.kind}

    def load_model(self, spec: str, data: SentencePairs, seed: int) -> nn.Module:
        """Open a folder of transformers or sentence-transformers, or a bundled encoder such as "minilm-l6" or "bert-tiny".

        "transformer" is a small BERT (two layers of 128) over the training texts' words, its weights drawn from ``seed``.
        """
        if spec == FRESH and not Path(spec).is_dir():
            return SentenceEncoder(fresh_transformer(vocabulary(data.texts()), seed=seed))
        bundled = {
            e.name: e for e in registry.entries().values() if e.kind == "model" and e.form == "sentences"
        }
        names = [*bundled, *(alias for each in bundled.values() for alias in each.aliases)]
        if not Path(spec).is_dir() and spec not in names:
            raise CounterpointError(
                f"no model '{spec}' for sentence pairs: neither a name ({nearest(spec, [FRESH, *names])}) nor the folder of a transformers "
                "encoder with its tokenizer"
            )
        return FOLDERS.open(Path(spec)) if Path(spec).is_dir() else open_sentence_encoder(spec)

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write an ordinary folder, which transformers and sentence-transformers open."""
        FOLDERS.save(model, folder)

    def evaluate(self, model: nn.Module, data: SentencePairs, split: str, seed: int = 0) -> dict[str, float]:
        """Measure retrieval and triplets, or the correlation with scores; see ``evaluation.sentence_pairs``."""
        return measured(self.measurements, model, data, split, seed)


TASK = SentencePairsTask()
