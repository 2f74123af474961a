"""Texts with labels: classifiers and sentence encoders, measured by how well every class's texts are ranked first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn

from counterpoint.bundled import registry
from counterpoint.data.text import sets as text_sets
from counterpoint.data.text.load import Texts, load_texts
from counterpoint.errors import CounterpointError, nearest
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.text import MEASUREMENTS
from counterpoint.models.text import disentangled, words
from counterpoint.models.text import folder as text_folder
from counterpoint.models.text import transformer as text_transformer
from counterpoint.tasks.facts import Facts, imbalance_of, rows_of
from counterpoint.tasks.options import checked_load
from counterpoint.tasks.stock import topic_reader

COMMON = 0.01
"""Share of the words, the commonest, that the model "words" leaves out."""


class TextTask:
    """The kind "text": see ``data.text.load_texts`` for the options of ``load_data``.

    The primary metric is macro average precision, which suits one label and several alike and lets a rare class count as
    much as a common one.
    """

    kind = "text"
    primary = "macro_ap"
    default_model = "words"
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> Texts:
        """Load a bundled name or a path; options as values or as text."""
        own = spec in text_sets.BUNDLED and not Path(spec).exists()
        load = text_sets.load if own else load_texts
        return checked_load(load, spec, options, spec)

    def facts(self, data: Texts) -> Facts:
        """What advice on methods may rest on."""
        labelled, classes = int(data.train.labelled.sum()), sum(size > 0 for size in data.sizes)
        return Facts(self.kind, rows_of(data.train), labelled, classes, imbalance_of(data.sizes))

    def reading(self, data: Texts) -> dict[str, Any]:
        """Nothing but the kind: texts are read as they stand."""
        return {"kind": "text"}

    def load_model(self, spec: str, data: Texts, seed: int) -> nn.Module:
        """Build or open a model.

        "words" (word vectors without the commonest hundredth of the words but for the classes' names, pooled), "words:3" (with a convolution over three words) and "transformer" (a small BERT,
        two layers of 128) and "deberta" (the same size, disentangled attention) start from nothing, with the training texts'
        vocabulary. "bert-tiny", "minilm-l6" or the folder of a transformers encoder start from what it learnt. A folder that
        counterpoint wrote is opened as it was saved. "topic-reader" is a classifier of the bundled quotations. "minilm-l6:2", or a transformers folder with ":2", starts from two of its layers.
        """
        if Path(spec).is_dir():
            model = text_folder.load(Path(spec))
            for_classes = getattr(model, "for_classes", None)  # of what has a head
            if for_classes is None:
                return model
            return cast(
                nn.Module, for_classes(data.classes, data.label_texts, data.multi_label, (spec, data.name))
            )
        name, _, kernel = spec.partition(":")
        if name == "words" and (not kernel or kernel.isdigit()):
            # Without order, words that every text has (the, of) would drown the others in the mean.
            names = words.vocabulary(data.train.texts, drop=0.0 if kernel else COMMON, keep=data.label_texts)
            return text_folder.fresh_words(names, int(kernel or 0), seed)
        if spec == topic_reader.NAME:
            return topic_reader.load()
        if spec == "transformer":
            return text_transformer.fresh_transformer(words.vocabulary(data.train.texts), seed=seed)
        if spec == "deberta":
            return disentangled.fresh_disentangled(words.vocabulary(data.train.texts), seed=seed)
        bundled_names = [
            e.name for e in registry.entries().values() if e.kind == "model" and e.form == "sentences"
        ]
        also = [alias for e in registry.entries().values() if e.name in bundled_names for alias in e.aliases]
        if spec in (*bundled_names, *also):
            return text_transformer.open_transformer(spec)
        if kernel.isdigit() and (Path(name).is_dir() or name in (*bundled_names, *also)):
            return text_transformer.shortened(text_transformer.open_transformer(name), int(kernel))
        raise CounterpointError(
            f"no model '{spec}' for texts: neither a name ({nearest(spec, ['words', 'words:3', 'transformer', 'deberta', *bundled_names, *also])}) "
            "nor the folder of a transformers encoder with its tokenizer"
        )

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the encoder as an ordinary folder; a classifier's head goes to ``head/`` inside."""
        text_folder.save(model, folder)

    def evaluate(self, model: nn.Module, data: Texts, split: str, seed: int = 0) -> dict[str, float]:
        """Measure a classifier's own answers, an encoder's by a probe or by the labels' names; see ``evaluation.text``."""
        return measured(self.measurements, model, data, split, seed)


TASK = TextTask()
