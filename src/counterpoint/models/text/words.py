"""A text encoder from scratch: word embeddings, a convolution if wanted, mean and max pooling, an MLP. Its vocabulary is its own.

Words are runs of letters, digits and apostrophes, in lower case. Token states come before the pooling.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models.model_folders import Saved
from counterpoint.models.text.encoder import Out
from counterpoint.models.tokens import Tokens, pad

PAD, UNKNOWN, MASK = 0, 1, 2
SPECIAL = ("<pad>", "<unknown>", "<mask>")
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def split(text: str) -> list[str]:
    """The words of a text.

    >>> split("Don't panic, it's 42!")
    ["don't", 'panic', "it's", '42']
    """
    return WORD.findall(text.lower())


def vocabulary(
    texts: Iterable[str], least: int = 3, most: int = 50_000, drop: float = 0.0, keep: Iterable[str] = ()
) -> list[str]:
    """Words in at least ``least`` texts, the commonest first, without the ``drop`` (a share) commonest of them.

    The words of the texts ``keep`` (such as the names of classes) are in it however common or rare they are.

    Raises:
        CounterpointError: no word is common enough.

    >>> vocabulary(["a cup of tea", "a pot of tea", "tea"], least=2, drop=0.4)
    ['a', 'of']
    """
    counts = Counter(word for text in texts for word in set(split(text)))
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    words = [word for word, count in ranked if count >= least]
    words = words[int(drop * len(words)) :][:most]
    words = list(dict.fromkeys([*words, *(word for text in keep for word in split(text))]))
    if not words:
        raise CounterpointError(
            f"no word occurs in {least} texts (of {len(counts)} different words); give more text, or a model that brings a "
            "vocabulary, such as bert-tiny"
        )
    return words


class WordEncoder(Saved):
    """Mean and max of word vectors through an MLP; saved with its vocabulary in ``config.json``.

    Args:
        vocabulary: the words, without the markers that come before them (padding, unknown, mask).
        width: E, of the word vectors and the states.
        features: H, of the sentence vector.
        kernel: words that a convolution over the embeddings looks at, an odd number; 0 for none: states are the words' own.
        limit: longest text in words; the rest is cut.
        dropout: on the embeddings.
        unknown: unknown words become the unknown marker; else they are left out.

    >>> encoder = WordEncoder(["tea", "cup"], width=4, features=4)
    >>> tokens = encoder.tokenize(["A cup of tea", "tea"])
    >>> tokens.ids.tolist(), encoder(tokens.ids, tokens.mask).shape
    ([[4, 3], [3, 0]], torch.Size([2, 4]))
    """

    pad_id, mask_id = PAD, MASK
    words: Tensor

    def __init__(
        self,
        vocabulary: Sequence[str],
        width: int = 64,
        features: int = 64,
        kernel: int = 0,
        limit: int = 128,
        dropout: float = 0.1,
        unknown: bool = False,
    ) -> None:
        super().__init__()
        if kernel and kernel % 2 == 0:
            raise CounterpointError(
                f"kernel={kernel}; expected an odd number of words, or 0 for no convolution"
            )
        self.vocabulary, self.width, self.num_features, self.limit = (
            tuple(vocabulary),
            width,
            features,
            limit,
        )
        self.state_width = width
        self.unknown, self.vocabulary_size = unknown, len(self.vocabulary) + len(SPECIAL)
        self._ids = {word: number for number, word in enumerate(self.vocabulary, len(SPECIAL))}
        self.table = nn.Embedding(self.vocabulary_size, width, padding_idx=PAD)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        with torch.no_grad():
            self.table.weight[PAD] = 0
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2) if kernel else None
        self.dropout = nn.Dropout(dropout)
        self.body = nn.Sequential(nn.Linear(2 * width, features), nn.ReLU(), nn.Linear(features, features))
        self.register_buffer("words", torch.arange(self.vocabulary_size) >= len(SPECIAL), persistent=False)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids of known words, [B, L]; others are left out, or become the unknown word if the encoder was made so."""
        rows = []
        for text in texts:
            ids = [self._ids.get(word, UNKNOWN) for word in split(text)]
            rows.append([i for i in ids if self.unknown or i != UNKNOWN][: self.limit])
        return pad(rows, side="right", fill=PAD, width=max(1, *(len(row) for row in rows)) if rows else 1)

    def vectors(self, ids: Tensor) -> Tensor:
        """[...] ids -> [..., E] rows of the word table."""
        return self.table(ids)

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] -> [B, L, E]; there are no positions."""
        return self.table(ids)

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """[B, L, E] -> [B, H]: mean and max over the real words, then the MLP; an empty text pools zeros."""
        there = mask.unsqueeze(-1).bool()
        mean = (states * there).sum(1) / there.sum(1).clamp(min=1)
        top = states.masked_fill(~there, -torch.inf).amax(1)
        top = torch.where(there.any(1), top, 0.0)
        return self.body(torch.cat([mean, top], 1))

    def forward(
        self, ids: Tensor, mask: Tensor, *, embedded: Tensor | None = None, out: Out = "sentence"
    ) -> Tensor:
        """[B, L] ids and mask -> sentence vectors [B, H], or token states [B, L, E] with ``out="tokens"``."""
        if out == "logits":
            raise CounterpointError('an encoder has no classes; out="logits" is for a TextClassifier')
        states = self.dropout(self.embed(ids) if embedded is None else embedded)
        if self.convolution is not None:
            around = (states * mask.unsqueeze(-1)).transpose(1, 2)
            states = states + torch.relu(self.convolution(around)).transpose(1, 2)
        return states if out == "tokens" else self.pool(states, mask)
