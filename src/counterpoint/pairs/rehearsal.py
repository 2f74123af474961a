"""A stage's new clips mixed with replayed ones of earlier stages, and the targets of a decoder. N clips, T tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.data.audio.load import Clips
from counterpoint.models.audio.lexicon import PAD, Lexicon
from counterpoint.models.tokens import Tokens, pad


class Mixed:
    """A source of batches: a stage's new clips and the replayed ones, with their targets.

    A batch is a dict: ``waves``, ``lengths``, ``labels``, ``replayed`` [N] bool, ``transcribed`` [N] bool (the words are known),
    ``ids`` and ``mask`` [N, T], and with ``decoded`` the same of other targets for replayed clips.

    Args:
        clips: the training clips.
        new, replayed_rows: positions among them.
        goals: every training clip's target.
        decoded: other targets of the replayed clips, in their order.
        share: repeat replayed clips, whole times, until they are at least this share of the rows.
    """

    def __init__(
        self,
        clips: Clips,
        new: Tensor,
        replayed_rows: Tensor,
        goals: Tokens,
        *,
        decoded: list[list[int]] | None = None,
        share: float = 0.0,
    ) -> None:
        times = 1
        if share and len(replayed_rows):
            while times * len(replayed_rows) < share * (len(new) + times * len(replayed_rows)):
                times += 1
        self.clips, self.goals = clips, goals
        self.rows = torch.cat([new, replayed_rows.repeat(times)])
        self.replayed = torch.arange(len(self.rows)) >= len(new)
        self.transcribed = torch.tensor([bool(text) for text in clips.texts])
        self.decoded = None
        if decoded is not None:
            nothing: list[list[int]] = [[] for _ in range(len(new))]
            self.decoded = pad(nothing + decoded * times, side="right", fill=PAD)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> dict[str, Tensor]:
        rows = self.rows[index]
        batch, goals = self.clips[rows], cut(self.goals[rows])
        items = {
            "waves": batch.waves,
            "lengths": batch.lengths,
            "labels": batch.labels,
            "replayed": self.replayed[index],
            "transcribed": self.transcribed[rows],
            "ids": goals.ids,
            "mask": goals.mask.bool(),
        }
        if self.decoded is not None:
            decoded = cut(self.decoded[index])
            items |= {"decoded": decoded.ids, "decoded_mask": decoded.mask.bool()}
        return items


def targets(lexicon: Lexicon, clips: Clips, limit: int) -> tuple[Tokens, int]:
    """Every clip's ``intent, words..., end``, and how many were cut at ``limit`` ids; of unknown words, the intent alone."""
    rows, cut_rows = [], 0
    for label, text in zip(clips.labels.tolist(), clips.texts, strict=True):
        ids = lexicon.encode(label, text)
        cut_rows += len(ids) > limit
        rows.append(lexicon.encode(label, text, limit) if text else ids[:1])
    return pad(rows, side="right", fill=PAD), cut_rows


def cut(tokens: Tokens) -> Tokens:
    """The rows without columns that only pad; at least one column stays."""
    width = max(1, int(tokens.lengths.max())) if len(tokens) else 1
    return Tokens(tokens.ids[:, :width], tokens.mask[:, :width])
