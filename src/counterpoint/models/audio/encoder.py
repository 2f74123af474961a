"""Speech encoders: padded waveforms with their lengths in, a state for every frame out, and their mean for every clip.

The one interface of everything that hears, here and in the methods:

    states_NTD, mask_NT = encoder.frames(waves_NS, lengths_N)     # mask: True where a frame lies within its clip
    vectors_ND = encoder(waves_NS, lengths_N)                     # the mean over each clip's own frames
    encoder.num_features (D), encoder.sample_rate                 # what it gives, and the rate it hears

Padding never reaches a result: a clip gives the same states alone as beside longer ones. A decoder over tokens reads
``states`` with ``mask``; a classifier reads the vectors. N clips, S samples, T frames, D features, M mel bands.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import CounterpointError
from counterpoint.models.model_folders import Saved


class SpeechEncoder(nn.Module, ABC):
    """What every speech encoder offers.

    Attributes:
        num_features: D, width of states and vectors.
        sample_rate: samples per second of the waveforms it expects.
    """

    num_features: int
    sample_rate: int

    @abstractmethod
    def frames(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[N, S] samples in [-1, 1], zero after each clip's ``lengths`` [N] -> states [N, T, D], mask [N, T] (bool)."""

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """[N, S], [N] -> [N, D], the mean over each clip's own frames."""
        return masked_mean(*self.frames(waves, lengths))


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``states`` [N, T, D] over the frames where ``mask`` [N, T] holds -> [N, D].

    >>> masked_mean(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[True, True, False]]))
    tensor([[3.]])
    """
    if not mask.any(1).all():
        raise CounterpointError("a clip has no frame within its length; expected at least one frame per clip")
    inside = torch.where(mask[..., None], states, 0.0)
    return inside.sum(1) / mask.sum(1, keepdim=True).to(states.dtype)


def frame_mask(counts: Tensor, frames: int) -> Tensor:
    """[N] frames within each clip -> [N, frames], True for those."""
    return torch.arange(frames, device=counts.device)[None, :] < counts[:, None]


def mel_filters(num_mels: int, num_fft: int, sample_rate: int) -> Tensor:
    """[num_fft // 2 + 1, num_mels] triangles, evenly spaced on the mel scale from ``low`` to half the sample rate.

    >>> mel_filters(40, 256, 8000).shape
    torch.Size([129, 40])
    """

    low = 20.0

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    places = np.linspace(mel(low), mel(sample_rate / 2), num_mels + 2)
    edges = 700 * (10 ** (places / 2595) - 1)
    bins = np.linspace(0, sample_rate / 2, num_fft // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling))).float()


class LogMel(nn.Module):
    """Logarithms of mel-band energies, each band's mean over the clip taken off (which takes off a channel's tone, too).

    A frame lies wholly within its clip; a clip shorter than a window counts as one frame.
    """

    def __init__(
        self, sample_rate: int, num_mels: int = 40, window: float = 0.025, hop: float = 0.01
    ) -> None:
        super().__init__()
        self.width, self.hop = round(window * sample_rate), round(hop * sample_rate)
        self.num_fft = 1 << (self.width - 1).bit_length()
        self.register_buffer("filters", mel_filters(num_mels, self.num_fft, sample_rate), persistent=False)
        self.register_buffer("window", torch.hann_window(self.width), persistent=False)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[N, S], [N] -> [N, T, M], mask [N, T]."""
        waves = functional.pad(waves, (0, max(0, self.width - waves.shape[1])))
        with torch.autocast(waves.device.type, enabled=False):  # energies span more than half precision holds
            pieces = waves.unfold(1, self.width, self.hop) * self.get_buffer("window")
            power = torch.fft.rfft(pieces, self.num_fft).abs().square()
            bands = (power @ self.get_buffer("filters") + 1e-6).log()
        mask = frame_mask((lengths - self.width).clamp(min=0) // self.hop + 1, bands.shape[1])
        return torch.where(mask[..., None], bands - masked_mean(bands, mask)[:, None], 0.0), mask


class SmallSpeech(SpeechEncoder, Saved):
    """Three convolutions over 40 log-mel bands: 128 features every 40 ms, 190 thousand weights, trained from nothing.

    Args:
        sample_rate: of the waveforms.
        num_mels: M.
        widths: channels after each convolution of 5 frames; the first two halve the frame rate.

    >>> SmallSpeech(8000)(torch.randn(2, 8000), torch.tensor([8000, 5000])).shape
    torch.Size([2, 128])
    """

    def __init__(
        self, sample_rate: int = 16_000, num_mels: int = 40, widths: Sequence[int] = (128, 128, 128)
    ) -> None:
        super().__init__()
        self.sample_rate, self.num_features = sample_rate, widths[-1]
        self.mel = LogMel(sample_rate, num_mels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, 5, 2 if depth < 2 else 1, padding=2)
            for depth, (before, after) in enumerate(zip((num_mels, *widths), widths, strict=False))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)

    def frames(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See ``SpeechEncoder.frames``; in place of waves also the mel bands [N, T, M] of ``self.mel``, lengths in frames."""
        if not len(waves):  # a process without a row of a small last batch
            return waves.new_zeros(0, 1, self.num_features), lengths.new_zeros(0, 1, dtype=torch.bool)
        is_mel = waves.dim() == 3
        states, mask = (waves, frame_mask(lengths, waves.shape[1])) if is_mel else self.mel(waves, lengths)
        for layer, norm in zip(self.convolutions, self.norms, strict=True):
            # Frames after a clip's end are zero before every convolution, as its own padding beyond the batch is.
            states = functional.relu(norm(layer(states.mT).mT))
            mask = mask[:, :: layer.stride[0]]  # type: ignore[index]
            states = torch.where(mask[..., None], states, 0.0)
        return states, mask
