"""A head that reads labels as texts: their words' mean vector is matched with the sentence vector by a small network.

Score of text t and label l: ``w . relu(W [t; l; t*l; |t - l|] + b) + c`` (with ``interact=False`` only ``[t; l]``). Labels it was never trained on
have scores, too. B texts, C classes, A labels of each text, H sentence width, E width of word vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.models.model_folders import Saved

PIECE = 2**24
"""Numbers in a table of (text, label) features at a time, when all classes are scored."""


class Matcher(nn.Module):
    """Scores of (sentence vector, label vector) pairs.

    >>> Matcher(4, 4)(torch.zeros(3, 1, 4), torch.zeros(1, 5, 4)).shape
    torch.Size([3, 5])
    """

    def __init__(self, num_features: int, width: int, hidden: int = 64, interact: bool = True) -> None:
        super().__init__()
        self.interact = interact
        # Products and differences need labels and sentences of one width.
        fit = interact and width != num_features
        self.project = nn.Linear(width, num_features, bias=False) if fit else nn.Identity()
        inputs = 4 * num_features if interact else num_features + width
        self.inner, self.outer = nn.Linear(inputs, hidden), nn.Linear(hidden, 1)

    def forward(self, sentences: Tensor, labels: Tensor) -> Tensor:
        """[..., H] and [..., E], leading axes broadcast -> [...] logits."""
        labels = self.project(labels)
        shape = torch.broadcast_shapes(sentences.shape[:-1], labels.shape[:-1])
        sentences, labels = (x.expand(*shape, x.shape[-1]) for x in (sentences, labels))
        parts = [sentences, labels]
        if self.interact:
            parts += [sentences * labels, (sentences - labels).abs()]
        return self.outer(torch.relu(self.inner(torch.cat(parts, -1)))).squeeze(-1)


class MatchHead(Saved):
    """A classifier's head whose classes are the words of their names.

    Args:
        num_features: H. width: E.
        classes: names of the classes. label_ids: the ids of the words of each name, in the encoder's vocabulary.
        multi_label: a text may belong to several classes.
        hidden, interact: of the matcher.
    """

    whole = False

    seen: Tensor

    def __init__(
        self,
        num_features: int,
        width: int,
        classes: Sequence[str] = (),
        label_ids: Sequence[Sequence[int]] = (),
        multi_label: bool = False,
        hidden: int = 64,
        interact: bool = True,
    ) -> None:
        super().__init__()
        self.sizes: dict[str, Any] = {
            "num_features": num_features,
            "width": width,
            "hidden": hidden,
            "interact": interact,
        }
        self.matcher = Matcher(num_features, width, hidden, interact)
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))
        self.classes, self.label_ids, self.multi_label = tuple(classes), list(label_ids), multi_label
        longest = max((len(ids) for ids in label_ids), default=1) or 1
        ids = torch.zeros(len(self.classes), longest, dtype=torch.long)
        mask = torch.zeros(len(self.classes), longest)
        for row, given in enumerate(label_ids):
            ids[row, : len(given)], mask[row, : len(given)] = torch.tensor(given, dtype=torch.long), 1.0
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("mask", mask, persistent=False)

    @property
    def zero_shot(self) -> bool:
        """Whether no label of these classes has been trained on."""
        return not bool(self.seen)

    def forward(self, sentences: Tensor, encoder: Any) -> Tensor:
        """[B, H] -> [B, C]."""
        labels = mean_vectors(encoder.vectors(self.get_buffer("ids")), self.get_buffer("mask"))
        step = max(1, PIECE // max(1, len(sentences) * 4 * sentences.shape[1]))
        parts = [self.matcher(sentences[:, None], piece[None]) for piece in labels.split(step)]
        return torch.cat(parts, 1) if parts else sentences.new_zeros(len(sentences), 0)

    def renamed(
        self, encoder: Any, classes: Sequence[str], label_texts: Sequence[str], multi_label: bool
    ) -> MatchHead:
        """The same matcher for other classes, of which it has seen no labels."""
        if tuple(classes) == self.classes and multi_label == self.multi_label:
            return self
        label_ids = label_words(encoder, label_texts)
        other = MatchHead(**self.sizes, classes=list(classes), label_ids=label_ids, multi_label=multi_label)
        other.matcher.load_state_dict(self.matcher.state_dict())
        return other.to(self.seen.device)


def mean_vectors(vectors: Tensor, mask: Tensor) -> Tensor:
    """Mean of a label's word vectors, [..., K, E] with mask [..., K] -> [..., E]; 0 for a label without known words."""
    weights = mask.unsqueeze(-1).to(vectors.dtype)
    return (vectors * weights).sum(-2) / weights.sum(-2).clamp(min=1)


def label_words(encoder: Any, names: Sequence[str]) -> list[list[int]]:
    """Ids of the words of each label, without markers; a name of which nothing is known gives an empty list."""
    if not names:
        return []
    tokens = encoder.tokenize(list(names))
    words = encoder.words.to(tokens.ids.device)
    # Word pieces of an unusual name are no words, but better than nothing; markers occur in every row and are left out.
    result = []
    plain = set(encoder.tokenize([""]).rows()[0]) | {encoder.pad_id}
    for row in tokens.rows():
        own = [i for i in row if words[i]]
        result.append(own or [i for i in row if i not in plain])
    return result


def fresh_match_head(
    encoder: Any,
    classes: Sequence[str],
    label_texts: Sequence[str],
    multi_label: bool,
    seed: int,
    *,
    hidden: int = 64,
) -> MatchHead:
    """A head for these classes whose matcher is drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MatchHead(
            int(encoder.num_features), int(encoder.width), list(classes), label_words(encoder, label_texts),
            multi_label, hidden,
        )  # fmt: skip
