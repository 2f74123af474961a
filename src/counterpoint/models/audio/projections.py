"""A model that understands speech with the projections its contrasts are computed on; they are trained and saved with it.

N clips, F frames, D features, T tokens, P width of the projections.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoint.models.audio.lexicon import PAD
from counterpoint.models.audio.understanding import IntentDecoder, Understanding

PROJECTION = 128


class Student(nn.Module):
    """A model with the linear projections that contrast is computed on; a teacher is a copy of it, projections included.

    Args:
        model: encoder and head.
        seed: of the projections' initial weights.
    """

    def __init__(self, model: Understanding, seed: int, width: int = PROJECTION) -> None:
        super().__init__()
        self.model = model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.keep = nn.Linear(model.num_features, width, bias=False)
            self.hear = nn.Linear(model.num_features, width, bias=False)
            self.read = nn.Linear(model.head.width, width, bias=False)

    def forward(
        self,
        waves: Tensor,
        lengths: Tensor,
        ids: Tensor,
        *,
        intents: bool = False,
        states: bool = False,
        said: Tensor | None = None,
        said_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Everything that some term is computed from.

        Args:
            waves, lengths: [N, S], [N].
            ids: [N, T] targets, padded.
            intents: give the intents' scores of a decoder, too. states: give the encoder's states.
            said: [N, T'] other targets, with ``said_mask``.

        Returns:
            ``kept``, ``audio``, ``text`` [N, P], not normalised; of a decoder ``hidden`` [N, T, W] and ``said`` [N, T', W]
            (zeros in rows without any); ``intents`` [N, C]; ``states`` [N, F, D] and ``frames`` [N, F].
        """
        head = self.model.head
        pooled, heard, frames = self.model.heard(waves, lengths)
        out = {
            "kept": self.keep(pooled),
            "audio": self.hear(pooled),
            "text": self.read(head.text_vectors(ids, ids != PAD)),
        }
        if isinstance(head, IntentDecoder):
            out["hidden"] = head(pooled, heard, frames, ids)
        if intents or not head.decodes:
            out["intents"] = head.intent_logits(pooled, heard, frames)
        if states:
            out |= {"states": heard, "frames": frames}
        if said is not None and said_mask is not None and isinstance(head, IntentDecoder):
            rows = said_mask.any(1).nonzero().squeeze(1)
            again = pooled.new_zeros(*said.shape, head.width)
            if len(rows):
                told = head(pooled[rows], heard[rows], frames[rows], said[rows])
                again = again.to(told.dtype).index_copy(0, rows, told)
            out["said"] = again
        return out
