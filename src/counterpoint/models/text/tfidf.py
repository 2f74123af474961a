"""Texts as weighted counts of their words: an encoder without anything to train, behind the interface of ``models.text``.

x_w = (1 + log count_w) * (1 + log((1 + N) / (1 + texts with w))), scaled to length 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models.model_folders import Saved
from counterpoint.models.text.encoder import Out
from counterpoint.models.text.words import SPECIAL, split, vocabulary
from counterpoint.models.tokens import Tokens, pad


class Tfidf(Saved):
    """Sentence vectors with one coordinate per word; there are no token states and no embeddings to perturb.

    Args:
        vocabulary: the words. weights: what each counts, the inverse of how common it is.
        limit: longest text in words.

    >>> model = fit_tfidf(["a cup of tea", "a pot of tea", "tea"], least=2)
    >>> tokens = model.tokenize(["tea tea", "of"])
    >>> model(tokens.ids, tokens.mask).tolist(), model.vocabulary
    ([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], ('tea', 'a', 'of'))
    """

    pad_id, mask_id = 0, 2

    def __init__(self, vocabulary: Sequence[str], weights: Sequence[float], limit: int = 4096) -> None:
        super().__init__()
        self.vocabulary, self.limit = tuple(vocabulary), limit
        self.num_features = self.width = self.state_width = len(self.vocabulary)
        self.vocabulary_size = len(self.vocabulary) + len(SPECIAL)
        self._ids = {word: number for number, word in enumerate(self.vocabulary, len(SPECIAL))}
        self.register_buffer("weights", torch.tensor(list(weights)))
        self.register_buffer("words", torch.arange(self.vocabulary_size) >= len(SPECIAL), persistent=False)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids of known words; others are left out."""
        rows = [[self._ids[w] for w in split(text) if w in self._ids][: self.limit] for text in texts]
        return pad(rows, side="right", width=max(1, *(len(row) for row in rows)) if rows else 1)

    def forward(
        self, ids: Tensor, mask: Tensor, *, embedded: Tensor | None = None, out: Out = "sentence"
    ) -> Tensor:
        """[B, L] -> [B, V] rows of length 1, or 0 for a text without known words."""
        if out != "sentence" or embedded is not None:
            self._nothing_inside()
        counts = torch.zeros(len(ids), self.vocabulary_size, device=ids.device)
        counts = counts.scatter_add(1, ids, mask.to(counts.dtype))[:, len(SPECIAL) :]
        rows = torch.where(counts > 0, 1 + counts.clamp(min=1).log(), 0.0) * self.get_buffer("weights")
        return nn.functional.normalize(rows, dim=1, eps=1e-12)

    def embed(self, ids: Tensor) -> Tensor:
        """There are none; raises."""
        return self._nothing_inside()

    def vectors(self, ids: Tensor) -> Tensor:
        """There are none; raises."""
        return self._nothing_inside()

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """There are no states; raises."""
        return self._nothing_inside()

    def _nothing_inside(self) -> Tensor:
        raise CounterpointError(
            "a model of weighted words has no token states, no embeddings and no logits of its own; take 'words' or a transformers encoder"
        )


def fit_tfidf(texts: Iterable[str], least: int = 1) -> Tfidf:
    """Count words in texts; those in fewer than ``least`` are left out."""
    most = 100_000
    texts = list(texts)
    names = vocabulary(texts, least, most)
    counts = Counter(word for text in texts for word in set(split(text)))
    weights = [1 + math.log((1 + len(texts)) / (1 + counts[word])) for word in names]
    return Tfidf(names, weights)
