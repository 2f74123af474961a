"""Small changes to a waveform that leave words and speaker as they are: loudness and hiss."""

from __future__ import annotations

from torch import Tensor

from counterpoint.models.audio.encoder import frame_mask
from counterpoint.pairs.views import Random


def roughened(waves: Tensor, lengths: Tensor, random: Random, noise: float, longest: int) -> Tensor:
    """Waveforms with white noise and another loudness (up to 6 dB either way), zero after each clip's end as before.

    Args:
        waves: [N, S], with ``lengths`` [N].
        random: per-row random numbers.
        noise: largest level of the noise, relative to the clip's own; 0 changes nothing at all.
        longest: samples of the longest clip of all; noise is drawn for that many, so that neither the batch's padding
            nor the number of processes changes it.

    Returns:
        [N, S].
    """
    if not noise:
        return waves
    level = (waves.square().sum(1, keepdim=True) / lengths[:, None]).sqrt()
    strength = noise * random.uniform(1) * level
    gain = 2 ** (2 * random.uniform(1) - 1)
    hiss = random.normal(longest)[:, : waves.shape[1]]
    return (waves + strength * hiss) * frame_mask(lengths, waves.shape[1]) * gain
