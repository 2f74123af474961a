"""Clips whose mel bands are computed once instead of in every batch, for an encoder whose front has nothing to learn.

The bands of a second of telephone speech take the room of its samples, and making them takes half of a training step of the
small encoder. N clips, T frames, M bands.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from counterpoint.data.audio.clips import ClipBatch, Clips
from counterpoint.data.audio.load import Audio
from counterpoint.models.audio.encoder import LogMel


class Bands(Clips):
    """Clips with bands [frames, M] in place of samples; ``lengths`` are in frames, ``waves`` of a batch are [N, T, M]."""

    def __getitem__(self, index: Tensor) -> ClipBatch:
        lengths = self.lengths[index]
        longest = int(lengths.max()) if len(lengths) else 0
        waves = torch.zeros(len(lengths), longest, self.samples.shape[1])
        for row, (start, length) in enumerate(
            zip(self.starts[index].tolist(), lengths.tolist(), strict=True)
        ):
            waves[row, :length] = self.samples[start : start + length]
        return ClipBatch(waves, lengths, self.labels[index])


@torch.no_grad()
def bands_of(mel: LogMel, clips: Clips) -> Bands:
    """The same clips as the bands of ``mel``."""
    size = 64
    device = mel.get_buffer("filters").device
    frames: list[Tensor] = []
    for index in torch.arange(len(clips)).split(size):
        batch = clips[index].to(device)
        bands, mask = mel(batch.waves, batch.lengths)
        frames += [rows[there].cpu() for rows, there in zip(bands, mask, strict=True)]
    lengths = torch.tensor([len(rows) for rows in frames], dtype=torch.long)
    samples = torch.cat(frames) if frames else torch.empty(0, 1)
    starts = torch.cumsum(lengths, 0) - lengths
    return Bands(samples, starts, lengths, clips.labels, clips.groups, clips.texts, clips.files)


def cached_bands(model: nn.Module, data: Audio) -> Audio:
    """Data whose clips are bands, for a model whose encoder begins with a ``LogMel``; for any other, the data as they are."""
    fronts = [part for part in model.modules() if isinstance(part, LogMel)]
    if len(fronts) != 1 or isinstance(data.train, Bands):
        return data
    train, validation, test = (bands_of(fronts[0], part) for part in data.splits().values())
    return replace(data, train=train, validation=validation, test=test)
