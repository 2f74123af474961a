"""The positions of a vocabulary statistic, flat and without those outside the mask, and the way back to their places."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import KernelSettings, settings
from counterpoint.kernels.scores import Head, Scores, positions, vocabulary
from counterpoint.kernels.vocabulary.projection import Projection
from counterpoint.kernels.vocabulary.rows import RowStatistic
from counterpoint.kernels.vocabulary.stream import stream_rows


class Selection:
    """Scores at the positions of a mask.

    Args:
        scores: positions [...] over V entries.
        mask: [...] bool, or None for all positions.
    """

    def __init__(self, scores: Scores, mask: Tensor | None) -> None:
        self.scores, self.shape = scores, positions(scores)
        if mask is not None and (mask.shape != self.shape or mask.dtype != torch.bool):
            raise CounterpointError(
                f"a mask of shape {tuple(mask.shape)} and type {mask.dtype} was given; expected bool {tuple(self.shape)}; "
                "for example mask=labels != -100"
            )
        if mask is not None and bool(mask.all()):
            mask = None
        self.index = None if mask is None else mask.reshape(-1).nonzero().squeeze(1)

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return self.scores.hidden.device if isinstance(self.scores, Head) else self.scores.device

    @property
    def settings(self) -> KernelSettings:
        """The settings in force there."""
        return settings(self.device.type)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the statistics: float32 or wider."""
        given = self.scores.hidden if isinstance(self.scores, Head) else self.scores
        return torch.promote_types(given.dtype, torch.float32)

    def __len__(self) -> int:
        return self.shape.numel() if self.index is None else len(self.index)

    def plain_bytes(self, copies: int) -> int:
        """Bytes that the plain path would hold: so many tables [N, V]."""
        return copies * len(self) * vocabulary(self.scores) * self.dtype.itemsize

    def pick(self, values: Tensor) -> Tensor:
        """Bring [..., K] or [...] to the flat chosen positions: [N, K] or [N]."""
        flat = values.reshape((self.shape.numel(), *values.shape[len(self.shape) :]))
        return flat if self.index is None else flat[self.index]

    @property
    def flat(self) -> Scores:
        """The chosen positions: logits [N, V] or a head over hidden [N, d]."""
        scores = self.scores
        if isinstance(scores, Head):
            return Head(self.pick(scores.hidden), scores.weight, scores.bias, scores.scale, scores.softcap)
        return self.pick(scores)

    def projection(self, temperature: float) -> Projection:
        """The chosen positions of a constant, for a chunked pass; dense logits are not copied."""
        if isinstance(self.scores, Head):
            return Projection(self.flat, temperature)
        return Projection(self.scores.reshape(self.shape.numel(), -1), temperature, self.index)

    def stream(self, statistic: RowStatistic, temperature: float, weights: Tensor | None) -> Tensor:
        """Run a statistic over the chosen positions in chunks: [N, K]."""
        is_head = isinstance(self.scores, Head)
        student = self.flat if isinstance(self.scores, Head) else self.scores.reshape(self.shape.numel(), -1)
        return stream_rows(
            student,
            statistic,
            temperature=temperature,
            settings=self.settings,
            weights=weights,
            index=None if is_head else self.index,
        )

    def restore(self, values: Tensor) -> Tensor:
        """Put [N] or [N, K] back at the positions [...] or [..., K], zeros elsewhere."""
        if self.index is not None:
            values = values.new_zeros(self.shape.numel(), *values.shape[1:]).index_copy(0, self.index, values)
        return values.reshape((*self.shape, *values.shape[1:]))
