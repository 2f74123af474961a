"""A model that understands speech with the projections its contrasts are computed on; they are trained and saved with it.

N clips, F frames, D features, T tokens, P width of the projections.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoint.models.audio.lexicon import PAD
from counterpoint.models.audio.understanding import IntentDecoder, Understanding

PROJECTION = 128


class ProjectedStudent(nn.Module):
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
        decoded: Tensor | None = None,
        decoded_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Everything that some term is computed from.

        Args:
            waves, lengths: [N, S], [N].
            ids: [N, T] targets, padded.
            intents: give the intents' scores of a decoder, too. states: give the encoder's states.
            decoded: [N, T'] other targets, with ``decoded_mask``.

        Returns:
            ``projected``, ``audio``, ``text`` [N, P], not normalised; of a decoder ``hidden`` [N, T, W] and ``decoded`` [N, T', W]
            (zeros in rows without any); ``intents`` [N, C]; ``states`` [N, F, D] and ``frames`` [N, F].
        """
        head = self.model.head
        pooled, hidden, frames = self.model.hidden_states(waves, lengths)
        out = {
            "projected": self.keep(pooled),
            "audio": self.hear(pooled),
            "text": self.read(head.text_vectors(ids, ids != PAD)),
        }
        if isinstance(head, IntentDecoder):
            out["hidden"] = head(pooled, hidden, frames, ids)
        if intents or not head.decodes:
            out["intents"] = head.intent_logits(pooled, hidden, frames)
        if states:
            out |= {"states": hidden, "frames": frames}
        if decoded is not None and decoded_mask is not None and isinstance(head, IntentDecoder):
            rows = decoded_mask.any(1).nonzero().squeeze(1)
            again = pooled.new_zeros(*decoded.shape, head.width)
            if len(rows):
                decoded_states = head(pooled[rows], hidden[rows], frames[rows], decoded[rows])
                again = again.to(decoded_states.dtype).index_copy(0, rows, decoded_states)
            out["decoded"] = again
        return out
