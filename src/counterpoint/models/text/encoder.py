"""Text encoders: what every text method may ask of one, the rows it trains on, and the classifier it becomes.

The interface, met by ``models.words.WordEncoder`` and ``models.text_transformer.TransformerText`` (B texts, L token
positions, E width of the input embeddings, S of the token states, H of the sentence vector, V words, C classes):

    encoder.tokenize(texts)                   -> Tokens: ids and mask [B, L], padded on the right, cut at ``limit``
    encoder(ids, mask)                        -> [B, H] sentence vectors
    encoder(ids, mask, out="tokens")          -> [B, L, S] token states; those of padding mean nothing
    encoder(ids, mask, out="layers")          -> [B, M + 1, L, S] states of the embeddings and of M layers; of transformers only
    encoder.pool(states, mask)                -> [B, H] sentence vectors of token states already computed
    encoder.embed(ids)                        -> [B, L, E] input embeddings (words, and positions where there are any)
                                                 before the model's own normalisation and dropout
    encoder(ids, mask, embedded=e)            -> goes on from e [B, L, E] in place of ``embed(ids)``; with any ``out``
    encoder.vectors(ids)                      -> [..., E] rows of the word table for ids of any shape
    encoder.words                             [V] bool: ids that stand for a word by themselves, not markers or fragments
    encoder.num_features, .state_width, .width, .limit      H, S, E, longest sequence
    encoder.pad_id, .mask_id, .vocabulary_size

Token states are of the same positions as the ids, so a method may classify them (replaced-token detection), and two
passes in training mode differ by dropout, so they may serve as two views. ``Run.forward`` takes an encoder as it is.

A ``TextClassifier`` is an encoder with a head: all of the above works on it, and ``out="logits"`` gives [B, C].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models.model_folders import Saved, state
from counterpoint.models.tokens import Tokens

Out = Literal["sentence", "tokens", "layers", "logits"]


class TextEncoder(Protocol):
    """The interface above as a type; encoders are also ``nn.Module``."""

    num_features: int
    state_width: int
    width: int
    limit: int
    pad_id: int
    mask_id: int
    vocabulary_size: int
    words: Tensor

    def tokenize(self, texts: Sequence[str]) -> Tokens: ...  # noqa: D102
    def embed(self, ids: Tensor) -> Tensor: ...  # noqa: D102
    def vectors(self, ids: Tensor) -> Tensor: ...  # noqa: D102
    def pool(self, states: Tensor, mask: Tensor) -> Tensor: ...  # noqa: D102
    def __call__(self, ids: Tensor, mask: Tensor, **options: Any) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class Coded:
    """Texts as token ids with their labels: ``len()`` and indexing by a LongTensor, as the Run's batches want it.

    Attributes:
        ids, mask: [N, L] long.
        targets: [N, C] float, 1 for every class a text belongs to; all 0 where there is no label.
        labelled: [N] bool.
    """

    ids: Tensor
    mask: Tensor
    targets: Tensor
    labelled: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Tensor) -> Coded:
        """The rows of ``index``, cut to the longest of them."""
        mask = self.mask[index]
        length = max(1, int(mask.sum(1).max())) if len(mask) else 1
        return Coded(self.ids[index][:, :length], mask[:, :length], self.targets[index], self.labelled[index])

    def with_labels(self) -> Coded:
        """Only the rows with a label."""
        return self[torch.nonzero(self.labelled)[:, 0]]

    def width(self) -> int:
        """L."""
        return self.ids.shape[1]


class CodedAsRead:
    """As ``Coded``, of texts that stay on disk: rows are tokenised when they are taken, to what they are among all.

    Args:
        encoder: tokenises. texts: N of them. targets: [N, C]. labelled: [N] bool.
    """

    def __init__(self, encoder: Any, texts: Sequence[str], targets: Tensor, labelled: Tensor) -> None:
        self.encoder, self.texts, self.targets, self.labelled = encoder, texts, targets, labelled

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: Tensor) -> Coded:
        rows = coded(
            self.encoder,
            [self.texts[number] for number in index.tolist()],
            self.targets[index],
            self.labelled[index],
        )
        return rows[torch.arange(len(rows))]

    def with_labels(self) -> CodedAsRead:
        """Only the rows with a label."""
        numbers = torch.nonzero(self.labelled)[:, 0]
        texts: Any = self.texts
        return CodedAsRead(
            self.encoder, texts.select(numbers.numpy()), self.targets[numbers], self.labelled[numbers]
        )

    def width(self) -> int:
        """Tokens of the longest row; all are read for it."""
        return max(part.width() for part in passed_over(self))


def coded(encoder: Any, texts: Sequence[str], targets: Tensor, labelled: Tensor) -> Coded:
    """Tokenise texts once, on the CPU: ``coded(encoder, data.train.texts, data.train.targets, data.train.labelled)``."""
    tokens = encoder.tokenize(texts)
    return Coded(tokens.ids, tokens.mask, targets.float(), labelled)


def coded_rows(encoder: Any, texts: Sequence[str], targets: Tensor, labelled: Tensor) -> Coded | CodedAsRead:
    """Texts as ``coded`` gives them; those that are no list or tuple, since they stay on disk, as they are read."""
    how = coded if isinstance(texts, list | tuple) else CodedAsRead
    return how(encoder, texts, targets, labelled)


def passed_over(rows: Coded | CodedAsRead, size: int = 1024) -> Iterator[Coded]:
    """All rows, some at a time."""
    for start in range(0, len(rows), size):
        yield rows[torch.arange(start, min(start + size, len(rows)))]


class LinearHead(Saved):
    """Logits of named classes, linear in the sentence vector.

    Args:
        num_features: H.
        classes: names of the C classes, in the order of the logits.
        multi_label: a text may belong to several classes or to none: each logit is a class of its own.
        dropout: on the sentence vector.

    >>> LinearHead(8, ["tea", "coffee"])(torch.zeros(3, 8)).shape
    torch.Size([3, 2])
    """

    whole = False

    def __init__(
        self, num_features: int, classes: Sequence[str], multi_label: bool = False, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.classes, self.multi_label = tuple(classes), multi_label
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(num_features, len(self.classes))

    def forward(self, sentences: Tensor, encoder: Any = None) -> Tensor:
        """[B, H] -> [B, C]; ``encoder`` is for heads that read the classes' names."""
        return self.linear(self.dropout(sentences))


class TextClassifier(nn.Module):
    """An encoder with a head; an encoder itself.

    Args:
        encoder: meets the interface of this file.
        head: ``head(sentences [B, H], encoder) -> [B, C]``, with ``classes`` and ``multi_label``; has ``save_pretrained``.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def __getattr__(self, name: str) -> Any:
        """What is asked of the encoder is the encoder's: tokenize, embed, vectors, pool, words, sizes."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ("encoder", "head") or name.startswith("_"):
                raise
            return getattr(self.encoder, name)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the logits."""
        return tuple(self.head.classes)  # type: ignore[arg-type]

    @property
    def multi_label(self) -> bool:
        """Whether a text may belong to several classes."""
        return bool(self.head.multi_label)

    def forward(
        self, ids: Tensor, mask: Tensor, *, embedded: Tensor | None = None, out: Out = "sentence"
    ) -> Tensor:
        """[B, L] ids and mask -> sentence vectors [B, H], token states [B, L, S] or logits [B, C]."""
        if out != "logits":
            return self.encoder(ids, mask, embedded=embedded, out=out)
        return self.head(self.encoder(ids, mask, embedded=embedded), self.encoder)

    def for_classes(
        self, classes: Sequence[str], label_texts: Sequence[str], multi_label: bool, names: tuple[str, str]
    ) -> TextClassifier:
        """This model, for data of its classes; with a head that reads labels' names, one for this data's.

        Args:
            classes, label_texts, multi_label: of the data. names: of the model's folder and of the data.

        Raises:
            CounterpointError: a head of other classes.
        """
        if set(self.classes) == set(classes):
            return self
        renamed = getattr(self.head, "renamed", None)
        if renamed is None:
            raise CounterpointError(
                f"{names[0]} classifies {', '.join(self.classes[:4])}..., and {names[1]} has {', '.join(classes[:4]) or 'no labels'}...; "
                f"give data with its classes, or remove {Path(names[0]) / 'head'} to start from its encoder alone"
            )
        return TextClassifier(self.encoder, renamed(self.encoder, classes, label_texts, multi_label))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder's ordinary folder with the head's in ``head/``."""
        encoder: Any = self.encoder
        head: Any = self.head
        encoder.save_pretrained(folder)
        head.save_pretrained(Path(folder) / "head")
        state(folder, self)


def encoder_of(model: nn.Module) -> nn.Module:
    """The encoder of a model that may be a classifier."""
    return model.encoder if isinstance(model, TextClassifier) else model


def with_linear_head(
    model: nn.Module, classes: Sequence[str], multi_label: bool, seed: int, dropout: float = 0.1
) -> TextClassifier:
    """Give an encoder a fresh linear head drawn from ``seed``; a classifier with a linear head of these classes goes on."""
    if (
        isinstance(model, TextClassifier)
        and isinstance(model.head, LinearHead)
        and model.classes == tuple(classes)
        and model.multi_label == multi_label
    ):
        return model
    encoder = encoder_of(model)
    check_classes(classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = LinearHead(int(encoder.num_features), list(classes), multi_label, dropout)  # type: ignore[arg-type]
    return TextClassifier(encoder, head)


def check_classes(classes: Sequence[str]) -> None:
    """Refuse data without classes, which a classifier cannot be trained on.

    Raises:
        CounterpointError: fewer than two classes.
    """
    if len(classes) < 2:
        raise CounterpointError(
            f"the data names {len(classes)} classes; a classifier needs at least two: give a column of labels, --data-option label=COLUMN"
        )


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of the states of real tokens, [B, L, H] -> [B, H]; 0 for an empty text.

    >>> pooled(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]])).tolist()
    [[2.0]]
    """
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
